"""Intervals against scipy, coverage by simulation, and the rule for the best in both directions."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbench.analysis import stats

oracle = pytest.importorskip("scipy.stats", reason="scipy comes with scikit-learn")
VALUES = st.lists(st.floats(0, 100), min_size=2, max_size=12)
GROUPS = st.integers(2, 8).flatmap(
    lambda seeds: st.dictionaries(
        st.sampled_from("abcdef"),
        st.lists(st.floats(0, 100).map(lambda x: round(x, 2)), min_size=seeds, max_size=seeds),
        min_size=2,
    )
)


def by_seed(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


@given(VALUES)
def test_mean_and_sample_deviation(values: list[float]) -> None:
    assert stats.mean(values) == pytest.approx(statistics.mean(values))
    deviation = stats.deviation(values)
    assert deviation == pytest.approx(statistics.stdev(values), abs=1e-9)


def test_one_value_has_no_deviation() -> None:
    assert stats.deviation([3.0]) is None


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 30, 101])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.999])
def test_t_quantile(probability: float, degrees: int) -> None:
    expected = oracle.t.ppf(probability, degrees)
    assert stats.t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("probability", "degrees"), [(0.5, 3), (1.0, 3), (0.9, 0)])
def test_t_quantile_outside_its_range(probability: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        stats.t_quantile(probability, degrees)


@given(VALUES)
def test_paired_t_is_that_of_scipy(values: list[float]) -> None:
    found = stats.paired_t(values)
    if np.std(values) < 1e-6:
        assert found.low <= found.mean <= found.high
        return
    expected = oracle.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-6)


def test_bootstrap_is_that_of_scipy_and_the_same_each_time() -> None:
    values = np.random.default_rng(3).normal(1, 2, 40)
    found = stats.paired_bootstrap(list(values))
    assert found == stats.paired_bootstrap(list(values))
    expected = oracle.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, random_state=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.03)


def test_percentiles_are_expanded_as_in_print() -> None:
    """Hesterberg 2015: the normal tail of sqrt(n / (n - 1)) times Student's quantile."""
    for pairs in (2, 20, 40):
        reach = math.sqrt(pairs / (pairs - 1)) * oracle.t.isf(0.025, pairs - 1)
        assert stats.expanded(pairs) == pytest.approx(1 - 2 * oracle.norm.sf(reach), rel=1e-9)
    assert stats.expanded(10**6) == pytest.approx(stats.LEVEL, abs=1e-5)


def test_many_seeds_are_covered_as_often_as_few() -> None:
    """Where the bootstrap takes over from t, plain percentiles would cover too rarely."""
    drawn = np.random.default_rng(4).normal(1.0, 1.0, (1200, stats.MANY))
    zero = dict.fromkeys(range(stats.MANY), 0.0)
    covered = plain = 0
    for values in drawn:
        found = stats.difference(by_seed(*values), zero)
        assert found is not None
        covered += found.low <= 1 <= found.high
        rough = stats.paired_bootstrap(list(values))
        plain += rough.low <= 1 <= rough.high
    assert 0.94 < covered / 1200 < 0.965
    assert plain < covered - 10


@pytest.mark.parametrize("interval", [stats.paired_t, stats.paired_bootstrap])
def test_no_interval_of_one_pair(interval: object) -> None:
    assert callable(interval)
    with pytest.raises(ValueError, match="at least two"):
        interval([1.0])


@pytest.mark.parametrize("seeds", [3, 5])
def test_few_seeds_get_the_interval_that_covers(seeds: int) -> None:
    """The reason for not using the bootstrap with three seeds, measured."""
    drawn = np.random.default_rng(0).normal(1.0, 1.0, (600, seeds))
    zero = dict.fromkeys(range(seeds), 0.0)
    covered = resampled = 0
    for values in drawn:
        found = stats.difference(by_seed(*values), zero)
        assert found is not None
        covered += found.low <= 1 <= found.high
        rough = stats.paired_bootstrap(list(values), resamples=500)
        resampled += rough.low <= 1 <= rough.high
    assert 0.93 < covered / 600 < 0.97
    assert resampled / 600 < 0.90


def test_the_rule_names_what_difference_uses() -> None:
    few, many = range(stats.MANY - 1), range(stats.MANY)
    for seeds, kind in ((few, "t"), (many, "bootstrap")):
        first = {seed: float(seed % 4) for seed in seeds}
        found = stats.difference(first, dict.fromkeys(seeds, 0.0))
        differences = list(first.values())
        assert found == (
            stats.paired_t(differences)
            if kind == "t"
            else stats.paired_bootstrap(differences, level=stats.expanded(len(differences)))
        )
        assert stats.rule(len(first)) == f"95 % paired {kind} interval"


def test_differences_are_paired_by_seed() -> None:
    first = {0: 5.0, 1: 50.0, 2: 20.0, 7: 1.0}
    second = {2: 19.0, 1: 49.0, 0: 4.0, 9: 99.0}
    assert stats.difference(first, second) == (1.0, 1.0, 1.0)
    assert stats.difference({0: 1.0, 1: 2.0}, {0: 1.0, 2: 2.0}) is None


@given(GROUPS)
def test_best_rows_are_those_that_a_t_test_does_not_reject(rows: dict[str, list[float]]) -> None:
    found = stats.best_rows({name: by_seed(*values) for name, values in rows.items()})
    winner = min(rows, key=lambda name: math.fsum(rows[name]) / len(rows[name]))
    for name, values in rows.items():
        differences = np.subtract(values, rows[winner])
        if np.std(differences) < 1e-9:
            worse = differences.mean() > 1e-9
        else:
            pvalue = oracle.ttest_rel(values, rows[winner]).pvalue
            if abs(pvalue - 0.05) < 1e-6:
                continue
            worse = pvalue < 0.05
        assert (name not in found) == worse


def test_of_single_seeds_only_the_lowest_are_best() -> None:
    rows = {"a": by_seed(2.0), "b": by_seed(1.0), "c": by_seed(1.0), "d": by_seed(1.01), "e": {}}
    assert stats.best_rows(rows) == {"b", "c"}
    assert stats.best_rows({"a": {}}) == stats.best_rows({}) == set()


def test_a_lucky_rest_of_a_row_is_not_the_best() -> None:
    whole = by_seed(1.0, 1.1, 1.2)
    rows = {"whole": whole, "rest": {1: 0.1}, "worse": by_seed(9.0, 9.1, 9.2)}
    assert stats.best_rows(rows) == {"whole"}
    assert stats.best_rows(rows | {"rest": {0: 0.9, 2: 1.25}}) == {"whole", "rest"}


def test_rounding_to_whole_images_is_no_certainty() -> None:
    """One test image more in each of three seeds has no spread, and yet says nothing."""
    rows = {"a": by_seed(1.0, 1.0, 1.0), "b": by_seed(1.2, 1.2, 1.2), "c": by_seed(1.6, 1.6, 1.6)}
    assert stats.best_rows(rows) == {"a"}
    assert stats.best_rows(rows, resolution=0.2) == {"a", "b"}


def test_smallest_gap_is_where_a_t_test_turns() -> None:
    deviation, seeds = 0.3, 4
    gap = stats.smallest_gap([deviation, deviation, 40.0], seeds)
    assert gap is not None
    noise = np.array([-1, 1, -1, 1]) * math.sqrt(2) * deviation * math.sqrt(3 / 4)
    assert oracle.ttest_1samp(noise + gap * 1.001, 0).pvalue < 0.05
    assert oracle.ttest_1samp(noise + gap * 0.999, 0).pvalue > 0.05


def test_no_gap_without_two_seeds() -> None:
    assert stats.smallest_gap([0.1], 1) is None
    assert stats.smallest_gap([], 3) is None
    rounded = stats.smallest_gap([0.0], 3, resolution=0.2)
    assert rounded == pytest.approx(4.303 * 0.2 / math.sqrt(6) / math.sqrt(3), rel=1e-3)


def test_one_lucky_seed_does_not_make_a_bad_row_equal_to_the_best() -> None:
    rows = {"best": {0: 1.2, 1: 0.8, 2: 1.6}, "erratic": {0: 7.2, 1: 92.6, 2: 92.6}}
    interval = stats.difference(rows["erratic"], rows["best"], 0.2)
    assert interval is not None
    assert interval.low < 0  # the interval alone would say nothing
    assert stats.best_rows(rows, 0.2) == {"best"}


def test_few_test_images_tell_less_apart() -> None:
    rows = {"best": {0: 10.0, 1: 10.0}, "bad": {0: 20.0, 1: 30.0}}
    assert stats.always_worse(rows["bad"], rows["best"], 100 / 1000)
    assert not stats.always_worse(rows["bad"], rows["best"], 100 / 50)
    assert not stats.always_worse(rows["bad"], rows["best"], 0.0)
    assert not stats.always_worse({0: 90.0}, {0: 1.0}, 0.1)  # one seed separates nothing
    # Against the textbook's z test of two shares: 20 % and 10 % of n images.
    z = 0.1 / math.sqrt((0.2 * 0.8 + 0.1 * 0.9) / 96)
    assert z == pytest.approx(1.96, rel=5e-3)
    close = ({0: 20.0, 1: 20.0}, {0: 10.0, 1: 10.0})
    assert stats.always_worse(*close, 100 / 98)
    assert not stats.always_worse(*close, 100 / 94)


def test_ties_share_their_mean_rank() -> None:
    assert stats.ranks([2.0, 1.0, 1.0, 3.0]) == [3.0, 1.5, 1.5, 4.0]
    assert stats.ranks([1.0, 1.0, 1.0]) == [2.0, 2.0, 2.0]
