"""Statistics against scipy and against simulation."""

import math

import numpy as np
import pytest
import scipy.stats

from ssbench import stats


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_small_samples_have_student_s_interval(n: int) -> None:
    generator = np.random.default_rng(n)
    first, second = generator.normal(2, 1, n), generator.normal(0, 1, n)
    found = stats.paired_interval(dict(enumerate(first)), dict(enumerate(second)))
    expected = scipy.stats.ttest_rel(first, second).confidence_interval(0.95)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-4)


def test_quantiles_are_those_of_scipy() -> None:
    for degrees in range(1, 60):
        values = [0.0] * degrees + [math.sqrt(degrees + 1)]
        spread = stats.deviation(values)
        assert spread is not None
        expected = scipy.stats.t.ppf(0.975, degrees) * spread / math.sqrt(degrees + 1)
        assert stats.half_width(values) == pytest.approx(expected, rel=2e-3)


def test_many_pairs_have_the_bootstrap_interval() -> None:
    values = np.random.default_rng(1).exponential(1.0, 40)
    zeros = dict.fromkeys(range(40), 0.0)
    found = stats.paired_interval(dict(enumerate(values)), zeros)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert found == pytest.approx((expected.low, expected.high), rel=0.02)


@pytest.mark.parametrize("n", [3, 5, 12])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(n: int) -> None:
    generator = np.random.default_rng(n)
    covered = 0
    for _ in range(2000):
        values = generator.normal(0.7, 1.0, n)
        interval = stats.paired_interval(dict(enumerate(values)), dict.fromkeys(range(n), 0.0))
        assert interval is not None
        covered += interval[0] <= 0.7 <= interval[1]
    assert covered / 2000 > (0.93 if n < stats.BOOTSTRAP_FROM else 0.88)


def test_mean_and_deviation_are_numpy_s() -> None:
    values = [1.27, 0.2, 92.6, 3.0]
    assert stats.mean(values) == pytest.approx(np.mean(values))
    assert stats.deviation(values) == pytest.approx(np.std(values, ddof=1))
    assert stats.deviation([1.0]) is None


def seeds(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_the_best_and_what_cannot_be_told_apart() -> None:
    rows = {
        "best": seeds(1.0, 1.2, 1.1),
        "near": seeds(1.3, 1.1, 1.2),
        "far": seeds(5.0, 5.3, 5.2),
    }
    assert stats.best(rows, 500) == {"best", "near"}


def test_one_lucky_seed_does_not_make_a_bad_row_equal_to_the_best() -> None:
    rows = {"best": seeds(1.2, 0.8, 1.6), "erratic": seeds(7.2, 92.6, 92.6)}
    interval = stats.paired_interval(rows["erratic"], rows["best"])
    assert interval is not None
    assert interval[0] < 0  # Student's interval alone would say nothing
    assert stats.best(rows, 500) == {"best"}
    # With few test images the same errors say nothing about a single seed.
    assert stats.best({"best": seeds(0, 0), "bad": seeds(10, 20)}, 10) == {"best", "bad"}


def test_with_one_seed_only_the_lowest_is_best() -> None:
    assert stats.best({"a": seeds(1.0), "b": seeds(1.1), "c": seeds(1.0)}, 500) == {"a", "c"}
    assert stats.separable({"a": seeds(1.0), "b": seeds(1.1)}) is None
    assert stats.best({"a": {}}, 500) == set()


def test_the_separable_gap_is_the_half_width_to_the_best() -> None:
    rows = {"a": seeds(1.0, 1.2, 1.1), "b": seeds(2.0, 2.4, 2.0)}
    interval = stats.paired_interval(rows["b"], rows["a"])
    assert interval is not None
    assert stats.separable(rows) == pytest.approx((interval[1] - interval[0]) / 2)
