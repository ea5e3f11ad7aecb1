"""Power, verdicts, ranks and curves: against scipy, print, hand-made cases and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbench.analysis import stats

oracle = pytest.importorskip("scipy.stats")
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


def by_seed(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


@pytest.mark.parametrize(("effect", "pairs"), [(0.5, 5), (1.7, 5), (3.3, 3), (0.3, 40)])
def test_power_is_how_often_a_t_test_rejects(effect: float, pairs: int) -> None:
    drawn = np.random.default_rng(1).normal(effect, 1, (20_000, pairs))
    rejected = (oracle.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
    assert stats.power(effect, pairs) == pytest.approx(rejected, abs=0.012)


def test_power_without_an_effect_is_the_level_and_with_a_huge_one_certain() -> None:
    assert stats.power(0, 7) == pytest.approx(0.05)
    assert stats.power(1e4, 3) == 1.0
    with pytest.raises(ValueError, match="at least two"):
        stats.power(1, 1)


def test_what_a_few_seeds_can_separate() -> None:
    """The sample sizes of G*Power for the paired t test (80 %, two-sided 5 %): 3.26, 1.68."""
    assert stats.detectable(0.2, 3) == pytest.approx(0.2 * 3.26, rel=5e-3)
    assert stats.detectable(0.2, 5) == pytest.approx(0.2 * 1.68, rel=5e-3)


@given(st.floats(0.2, 5), st.floats(0.1, 2))
def test_seeds_needed_are_the_fewest(gap: float, spread: float) -> None:
    found = stats.seeds_needed(gap, spread, 30)
    enough = [n for n in range(2, 31) if stats.power(gap / spread, n) >= stats.POWER]
    assert found == (enough[0] if enough else None)
    assert stats.seeds_needed(-gap, spread, 30) == found


def test_seeds_needed_at_the_borders() -> None:
    assert stats.seeds_needed(0.0, 1.0, 1000) is None
    assert stats.seeds_needed(0.1, 0.0, 30) == 2
    assert stats.seeds_needed(0.0, 0.0, 30) is None


def test_verdicts_of_each_kind() -> None:
    better = stats.verdict(by_seed(1, 1.1, 1.2), by_seed(3, 3.2, 3.1))
    assert better.kind == "better"
    assert better.interval is not None
    assert better.interval.mean == pytest.approx(2.0)
    close = stats.verdict(by_seed(1.0, 1.4, 1.2), by_seed(1.2, 1.4, 1.7))
    assert close.kind == "more seeds"
    assert close.spread == pytest.approx(np.std([0.2, 0.0, 0.5], ddof=1))
    needed = stats.seeds_needed(0.7 / 3, close.spread or 0, 30)
    assert needed is not None
    assert close.more == needed - 3 > 0
    same = stats.verdict(by_seed(1.0, 1.4, 1.2), by_seed(1.4, 1.2, 1.0))
    assert (same.kind, same.more) == ("not separable", 0)
    reversed_ = stats.verdict(by_seed(3, 3.2, 3.1), by_seed(1, 1.1, 1.2))
    assert reversed_.kind == "not separable"


@pytest.mark.parametrize("shared", [0, 1, 2])
def test_with_fewer_than_three_seeds_there_is_no_interval(shared: int) -> None:
    second = dict.fromkeys(range(shared), 50.0) | {9: 50.0}
    found = stats.verdict(by_seed(1.0, 1.1, 1.2), second, 0.1)
    assert (found.kind, found.pairs, found.interval) == ("too few seeds", shared, None)
    assert found.more == 3 - shared


def test_lower_at_every_seed_is_not_better_where_the_interval_is_wide() -> None:
    found = stats.verdict(by_seed(1.2, 0.8, 1.6), by_seed(7.2, 92.6, 92.6), 0.2)
    assert (found.kind, found.more > 0) == ("lower at every seed", True)
    assert found.interval is not None
    assert found.interval.low < 0


def test_looks_grow_and_end_at_the_given_number() -> None:
    assert stats.looks(3, 20) == [3, 4, 6, 9, 14, 20]
    assert stats.looks(5, 5) == [5]
    assert stats.looks(1, 4) == [3, 4]
    assert stats.level_of_each(1) == stats.LEVEL
    assert stats.level_of_each(5) == pytest.approx(0.99)


@pytest.mark.slow
def test_several_looks_keep_the_stated_error_rate() -> None:
    """Two equal rows, judged at every look: called different in at most one case of twenty."""
    looks = stats.looks(3, 20)
    level = stats.level_of_each(len(looks))
    drawn = np.random.default_rng(2).normal(0, 1, (4000, 20))

    def called(values: np.ndarray, at: float) -> bool:
        for look in looks:
            half = stats.t_quantile((1 + at) / 2, look - 1)
            seen = values[:look]
            if abs(seen.mean()) > half * seen.std(ddof=1) / math.sqrt(look):
                return True
        return False

    strict = np.mean([called(values, level) for values in drawn])
    naive = np.mean([called(values, stats.LEVEL) for values in drawn])
    assert strict < 0.05
    assert naive > 0.09  # what the stricter level is for


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10, 20, 40])
@pytest.mark.parametrize("noise", ["normal", "images"])
def test_the_interval_covers_the_true_difference(seeds: int, noise: str) -> None:
    """95 % of intervals, for normal errors and for shares of 500 test images."""
    draws = np.random.default_rng(seeds)
    covered, repeats = 0, 2000
    for _ in range(repeats):
        if noise == "normal":
            common = draws.normal(0, 0.5, seeds)
            first, second = (5 + shift + common + draws.normal(0, 0.2, seeds) for shift in (0, 1))
            step = 0.0
        else:
            first, second = (draws.binomial(500, p, seeds) / 5 for p in (0.05, 0.06))
            step = 0.2
        found = stats.difference(by_seed(*second), by_seed(*first), step)
        assert found is not None
        covered += found.low <= 1 <= found.high
    assert 0.92 < covered / repeats < 0.98


def test_ranks_share_their_mean() -> None:
    assert stats.ranks([3.0, 1.0, 3.0, 9.0]) == [2.5, 1.0, 2.5, 4.0]
    assert stats.ranks([2.0, 2.0]) == list(oracle.rankdata([2.0, 2.0]))


def test_ranks_over_cells_against_scipy() -> None:
    errors = np.random.default_rng(4).integers(0, 9, (14, 4)).astype(float)
    found = stats.rank(dict(zip("abcd", errors.T.tolist(), strict=True)))
    averages = oracle.rankdata(errors, axis=1).mean(axis=0)
    assert found.average == pytest.approx(dict(zip("abcd", averages, strict=True)))
    assert list(found.average.values()) == sorted(found.average.values())
    assert found.pvalue == pytest.approx(oracle.friedmanchisquare(*errors.T).pvalue)
    assert found.cells == 14


@pytest.mark.parametrize(("names", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (10, 3.164)])
def test_the_critical_difference_is_that_in_print(names: int, quantile: float) -> None:
    """Demsar (2006), table 5 (a): quantiles of Nemenyi's test at 5 %."""
    expected = quantile * math.sqrt(names * (names + 1) / (6 * 14))
    assert stats.critical_difference(names, 14) == pytest.approx(expected, rel=1e-3)


def test_cliques_are_parted_by_the_critical_difference() -> None:
    averages = {"a": 1.0, "b": 1.5, "c": 2.4, "d": 4.0}
    ranking = stats.Ranking(averages, 10, 0.01, 1.2)
    assert ranking.cliques() == [("a", "b"), ("b", "c")]
    assert stats.Ranking(averages, 1, None, None).cliques() == []


def test_no_ranks_over_missing_cells() -> None:
    with pytest.raises(ValueError, match="every cell"):
        stats.rank({"a": [1.0, 2.0], "b": [1.0]})
    with pytest.raises(ValueError, match="every cell"):
        stats.rank({"a": []})
    two = stats.rank({"a": [1.0, 2.0], "b": [2.0, 3.0]})
    assert (two.pvalue, two.critical) == (None, None)
    ties = stats.rank({name: [1.0, 1.0] for name in "abc"})
    assert (ties.pvalue, ties.average) == (1.0, {"a": 2.0, "b": 2.0, "c": 2.0})


@given(POINTS)
def test_the_front_holds_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    named = {number: (float(x), float(y)) for number, (x, y) in enumerate(points)}

    def beaten(name: int) -> bool:
        x, y = named[name]
        return any(other[0] <= x and other[1] <= y and other != (x, y) for other in named.values())

    found = stats.pareto(named)
    assert set(found) == {name for name in named if not beaten(name)}
    assert [named[name] for name in found] == sorted(named[name] for name in found)


def test_the_mean_height_of_a_curve() -> None:
    curve = [(0.0, 0.0), (1.0, 2.0), (3.0, 2.0)]
    assert stats.mean_height(curve, 0, 3) == pytest.approx((1 + 4) / 3)
    assert stats.mean_height(curve[::-1], 0.5, 2) == pytest.approx((0.75 + 2) / 1.5)
    for low, high in ((-1, 2), (0, 4), (2, 2)):
        with pytest.raises(ValueError, match="does not span"):
            stats.mean_height(curve, low, high)
    assert stats.common_range([curve, [(1.0, 5.0), (9.0, 5.0)]]) == (1.0, 3.0)
    assert stats.common_range([curve, [(4.0, 5.0)]]) is None
    assert stats.common_range([]) is None


def test_scores_that_differ_only_by_rank_keep_their_order() -> None:
    cells = [list(order) for order in itertools.permutations([1.0, 2.0, 3.0])]
    found = stats.rank(dict(zip("abc", zip(*cells, strict=True), strict=True)))
    assert set(found.average.values()) == {2.0}
