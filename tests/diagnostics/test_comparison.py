"""Numbers that hold two tables against each other: against exact values, and against faults they must see."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from ptilde import diagnostics as d
from ptilde.diagnostics.classifier import placements


def rng(seed=0):
    return np.random.default_rng(seed)


def test_placements_average_to_the_area_under_the_curve_ties_included():
    label = rng(1).integers(0, 2, 300)
    rank = np.round(rng(2).normal(size=300) + 0.7 * label, 1)
    placed = placements(rank, label)
    expected = roc_auc_score(label, rank)
    assert placed[label == 1].mean() == pytest.approx(expected, abs=1e-12)
    assert placed[label == 0].mean() == pytest.approx(expected, abs=1e-12)


def test_two_samples_of_one_law_are_not_told_apart_and_a_small_shift_is_seen():
    x, y = rng(3).normal(size=(1500, 3)), rng(4).normal(size=(1500, 3))
    same = d.two_sample_auc(x, y)
    assert abs(same.value - 0.5) < 4.5 * same.standard_error  # false alarms below 1e-5
    shifted = d.two_sample_auc(x, y + [0.5, 0, 0])
    assert shifted.value - 0.5 > 4.5 * shifted.standard_error


def test_a_difference_in_dependence_alone_is_seen():
    z = rng(5).normal(size=(1500, 2))
    together = np.column_stack([z[:, 0], 0.9 * z[:, 0] + np.sqrt(1 - 0.81) * z[:, 1]])
    assert d.two_sample_auc(z, together).value > 0.65


def test_words_missing_values_and_bools_are_read_by_the_classifier():
    word = np.array(["a", "b", None, True], object)
    x = {"word": word[rng(6).integers(0, 4, 600)], "number": np.zeros(600)}
    y = {"word": word[rng(7).integers(0, 2, 600)], "number": np.full(600, np.nan)}
    assert d.two_sample_auc(x, {**y, "number": x["number"]}).value > 0.7
    assert d.two_sample_auc(x, {**x, "number": y["number"]}).value == 1.0


def test_the_larger_table_is_cut_to_the_size_of_the_smaller():
    few, many = rng(8).normal(size=(400, 1)), rng(9).normal(size=(8000, 1))
    auc = d.two_sample_auc(few, many)
    assert abs(auc.value - 0.5) < 4.5 * auc.standard_error
    assert auc.standard_error == pytest.approx(np.sqrt(1 / 12 / 400 * 2), rel=0.1)  # placements are about uniform


def test_the_standard_error_of_the_area_is_its_spread_over_samples():
    def ranked(seed):
        label = np.repeat([0, 1], 150)
        return placements(rng(seed).normal(size=300) + label, label), label

    areas, errors = [], []
    for seed in range(400):
        placed, label = ranked(seed)
        areas.append(placed[label == 1].mean())
        errors.append(np.sqrt(sum(placed[label == k].var(ddof=1) / 150 for k in (0, 1))))
    assert np.std(areas) == pytest.approx(np.mean(errors), rel=0.16)  # 4.5 / sqrt(2 * 400)


def test_tables_with_other_columns_or_too_few_rows_are_refused():
    with pytest.raises(ValueError, match=r"must have the same columns; got \['a'\] and \['b'\]"):
        d.two_sample_auc({"a": np.zeros(50)}, {"b": np.zeros(50)})
    with pytest.raises(ValueError, match="10 rows or more for 5 folds; the smaller has 4"):
        d.two_sample_auc(np.zeros((4, 1)), np.zeros((50, 1)))


def test_the_wasserstein_distance_of_a_shift_is_the_shift():
    x = rng(10).exponential(size=500)
    assert d.wasserstein(x, x + 0.25) == pytest.approx(0.25, abs=1e-12)
    assert d.wasserstein([0.0, 1.0, np.nan], [0.0, 3.0]) == pytest.approx(1.0, abs=1e-12)


def test_atom_shares_count_values_on_the_atom_and_not_near_it():
    x = np.array([0.0, 0.0, 1e-6, 200.0, 200.000001, 200.1, 7.0, 8.0])
    shares = d.atom_shares(x, [0.0, 200.0])
    assert shares[0.0] == (0.25, pytest.approx(np.sqrt(0.25 * 0.75 / 8)))
    assert shares[200.0].value == 0.25


def test_quantile_intervals_cover_the_truth_as_often_as_they_say():
    covered = {0.5: 0, 0.99: 0}
    for seed in range(1000):
        for level, bounded in d.tail_quantiles(rng(seed).random(400), tuple(covered)).items():
            covered[level] += bounded.low < level <= bounded.high
    # 95 % or more; 4.5 standard errors of a share of 1000 are 0.031
    assert min(covered.values()) >= 919
    assert max(covered.values()) <= 999  # and not by being endless


def test_a_quantile_beyond_the_sample_has_no_upper_end():
    bounded = d.tail_quantiles(np.arange(100.0), (0.999,))[0.999]
    assert bounded.high == np.inf
    assert bounded.low <= 98


def test_the_ratio_of_row_sums_is_that_of_the_scale():
    x = rng(11).lognormal(size=(4000, 2))
    ratio = d.q99_ratio(x, 1.5 * x)
    assert ratio.value == pytest.approx(1.5, rel=1e-12)
    again = d.q99_ratio(x, rng(12).lognormal(size=(4000, 2)))
    assert abs(again.value - 1) < 4.5 * again.standard_error


def test_total_variation_of_patterns_is_exact_on_a_small_example():
    a = np.array([[0, 0], [0, 1], [0, 1], [1, 1]])
    b = np.array([[0, 1], [0, 1], [1, 0], [1, 1]])
    assert d.pattern_total_variation(a, b).value == pytest.approx(0.25, abs=1e-15)
    assert d.pattern_total_variation(a, a).value == 0


def test_the_interval_of_an_estimate_is_that_of_a_normal_law():
    interval = d.Estimate(0.6, 0.1).interval(0.95)
    assert interval == pytest.approx((0.6, 0.6 - 0.1 * norm.ppf(0.975), 0.6 + 0.1 * norm.ppf(0.975)), rel=1e-12)


def test_a_floor_stands_beside_any_measure():
    train, test = rng(13).normal(size=(500, 2)), rng(14).normal(size=(500, 2))
    beside = d.beside_floor(d.sliced_wasserstein, train, test, test + 1.0, seed=3)
    assert beside.floor == d.sliced_wasserstein(test, train, seed=3)
    assert beside.value == d.sliced_wasserstein(test, test + 1.0, seed=3)
    assert beside.value.interval().low > beside.floor.interval().high


def test_a_comparison_holds_real_against_model_with_floors():
    def table(seed, rows, zero=0.3):
        amount = rng(seed).lognormal(size=rows) * (rng(seed + 1).random(rows) > zero)
        return {"amount": amount, "word": np.array(["x", "y"], object)[rng(seed + 2).integers(0, 2, rows)]}

    train, test = table(20, 3000), table(30, 1000)
    good = d.compare(train, test, table(40, 3000), atoms={"amount": [0.0]})
    bad = d.compare(train, test, table(40, 3000, zero=0.5), atoms={"amount": [0.0]})
    real, model = good.atoms["amount"][0.0]
    assert abs(real.value - model.value) < 4.5 * np.hypot(real.standard_error, model.standard_error)
    real, model = bad.atoms["amount"][0.0]
    assert abs(real.value - model.value) > 4.5 * np.hypot(real.standard_error, model.standard_error)
    assert good.auc_floor == bad.auc_floor
    assert good.pattern and bad.pattern and bad.pattern.value > 0.1 > good.pattern.value
    assert list(good.tails) == list(good.distances) == ["amount"]


def test_the_module_is_imported_without_jax():
    code = "import sys, ptilde.diagnostics; print([m for m in ('jax', 'sklearn', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
