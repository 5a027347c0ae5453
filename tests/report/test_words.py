"""The marks follow the numbers: what is beyond chance and matters is no longer good, and what is chance is."""

import re

import numpy as np
import pyarrow as pa
import pytest

from ptilde import Schema, SemiContinuous
from ptilde.diagnostics import Estimate
from ptilde.report import evidence, measure_tables, phrases, words
from ptilde.report.page import page


class Compared:
    """Of a comparison what the sentences on atoms and on the classifier read."""

    def __init__(self, atoms=None, auc=0.5):
        self.atoms = atoms
        self.auc, self.auc_floor = Estimate(auc, 0.01), Estimate(0.5, 0.01)


def share(p, num_rows):
    return Estimate(p, float(np.sqrt(p * (1 - p) / num_rows)))


def of_atoms(real, drawn, num_real, num_drawn, others=0):
    """The finding of an atom at 200, beside others that are right."""
    pairs = {float(i): (share(0.4, num_real), share(0.4, num_drawn)) for i in range(others)}
    pairs[200.0] = share(real, num_real), share(drawn, num_drawn)
    (finding,) = words._atoms(Compared({"claim": pairs}), (num_real, num_drawn))
    return finding


@pytest.mark.parametrize(
    ("real", "drawn", "num_rows", "mark"),
    [
        (0.42, 0.44, 1_000, "good"),  # 0.9 standard errors
        (0.42, 0.44, 40_000, "fair"),  # 5.7 of them, and two points are two points
        (0.42, 0.47, 40_000, "poor"),
        (0.017, 0.003, 40_000, "poor"),  # 1.4 points, but most of the atom
        (0.017, 0.018, 40_000, "good"),
    ],
)
def test_a_difference_at_an_atom_counts_beyond_chance_and_beside_the_atom(real, drawn, num_rows, mark):
    found = of_atoms(real, drawn, num_rows, num_rows, others=1)
    assert found.mark == mark
    assert f"claim = 200, of 2 atoms looked at: {100 * real:.1f} % of real rows and {100 * drawn:.1f} %" in found.answer


def test_an_atom_that_few_rows_miss_by_chance_is_no_fault():
    assert of_atoms(0.02, 0.0, 1000, 25).mark == "good"  # the binomial error of 0 of 25 would be 0
    assert of_atoms(0.02, 0.0, 1000, 5000).mark == "poor"


def test_the_largest_of_many_differences_is_held_against_what_the_largest_is_by_chance():
    assert of_atoms(0.55, 0.47, 600, 600).mark == "fair"  # 2.8 standard errors
    assert of_atoms(0.55, 0.47, 600, 600, others=39).mark == "good"


@pytest.mark.parametrize(("floor", "mark"), [(0.98, "none"), (0.1, "poor")])
def test_patterns_that_are_mostly_seen_once_say_nothing(floor, mark):
    found = Compared({"a": {}, "b": {}})
    found.pattern, found.pattern_floor = Estimate(0.99, 0.001), Estimate(floor, 0.001)
    assert [finding.mark for finding in words._patterns(found)] == [mark]


def test_a_name_that_cannot_be_seen_is_quoted():
    assert [phrases.named(name) for name in ("", " ", "claim")] == ["''", "' '", "claim"]


def test_a_classifier_far_below_chance_is_no_good_sign():
    found = [words._auc(Compared(auc=auc)) for auc in (0.33, 0.48)]
    assert [finding.mark for finding in found] == ["fair", "good"]
    assert "worse than chance, which happens where drawn rows repeat real ones: AUC 0.330" in found[0].answer


def test_a_body_of_which_nothing_is_drawn_is_red():
    schema = Schema({"claim": SemiContinuous((0.0,))})
    real = np.where(np.arange(300) < 150, 0.0, 1.0 + np.arange(300.0))
    found = evidence.bodies(schema, {"claim": real}, {"claim": np.zeros(300)})
    assert found["claim"].gap == 1.0 and found["claim"].reach.value == 0.0
    assert [finding.mark for finding in words._bodies(found)] == ["poor"]


def numbers(seed, rows=400):
    z = np.random.default_rng(seed).normal(size=(rows, 3))
    return {"a": z[:, 0], "b": z[:, 0] + 0.1 * z[:, 1], "c": z[:, 2]}


def test_the_pair_that_is_named_differs_most_even_if_by_chance():
    real, drawn = numbers(0), numbers(1)
    schema = measure_tables(pa.table(real), pa.table(drawn)).schema
    found = evidence.dependence(schema, real, drawn, 0)
    assert found.beyond_chance == 0.0
    assert "c" in (found.first, found.second)  # a and b are bound too closely to differ much
    assert abs(found.real - found.drawn) > 0.01


def memory_of(draws):
    return words._memory(measure_tables(pa.table(numbers(0)), pa.table(draws)).memory)


def test_rows_with_a_little_noise_are_near_ones_though_no_copies_and_others_are_not():
    blurred = {name: x + 1e-4 * np.random.default_rng(2).normal(size=len(x)) for name, x in numbers(0).items()}
    assert memory_of(blurred).mark == "poor" and "100.0 % of drawn rows lie closer" in memory_of(blurred).answer
    assert memory_of(numbers(1)).mark == "good"


def test_every_row_of_a_copy_is_a_copy():
    found = memory_of(numbers(0))
    assert found.mark == "poor" and found.answer.startswith("100.0 % of drawn rows with an amount are exact copies")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (21153.7, "21,150"),
        (0.0, "0"),
        (-3.14159, "-3.142"),
        (0.00123456, "0.001235"),
        (20.0, "20"),
        (1234567.0, "1,235,000"),
        (2.5e12, "2.5e+12"),
        (float("nan"), "nan"),
        (9999.96, "10,000"),
    ],
)
def test_a_number_has_four_figures_and_no_exponent_where_a_person_writes_none(value, text):
    assert phrases.figures(value) == text


def test_a_long_name_is_cut_where_it_would_make_a_row_as_high_as_a_page():
    table = pa.table({"n" * 200: numbers(0)["a"]})
    cells = re.findall(r"<td>(n+…?)</td>", page(measure_tables(table, table), "t"))
    assert len(cells) >= 3 and all(cell == "n" * 27 + "…" for cell in cells)
