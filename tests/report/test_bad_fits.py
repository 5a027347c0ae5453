"""A bad fit turns red, and its good sibling does not."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import gaussian_kde

import ptilde
from ptilde import Positive, Real, Schema, SemiContinuous
from ptilde.report import measure, measure_tables

CLASSIFIER, BODY = "Can a classifier tell drawn rows from held-out ones?", "Is the body of each column right?"
ATOMS, LAW = "Is the mass on each atom right?", "Do so many rows tell the two laws apart?"
TOGETHER = "Do columns sit on their atoms together as they should?"


def claims(seed, rows=1000):
    """Two coverages, zero for most policies, and both where there was an accident."""
    rng = np.random.default_rng(seed)
    accident, size = rng.random(rows) < 0.4, rng.normal(size=rows)
    amounts = (np.exp(6 + 0.7 * size + 0.5 * rng.normal(size=rows)) for _ in range(2))
    return pa.table(
        {name: np.where(accident & (rng.random(rows) < 0.8), a, 0.0) for name, a in zip("ab", amounts, strict=True)}
    )


def without_atoms(table, seed):
    """Draws of each column from a kernel density estimate, which knows no atom."""
    drawn = (gaussian_kde(column.to_numpy()).resample(table.num_rows, seed=seed)[0] for column in table.columns)
    return pa.table(dict(zip(table.column_names, drawn, strict=True)))


class Model:
    """A model whose densities nobody asks about here."""

    history_, n_iter_, seed_ = {}, 1, 0

    def __init__(self, schema):
        self.schema_ = schema

    def score_samples(self, X, method="one_pass"):
        return np.zeros(X.num_rows)

    def grad_log_density(self, X):
        return np.where(np.column_stack([column.to_numpy() for column in X.columns]) == 0, np.nan, 0.0)

    def log_normalizer(self):
        return 0.0, 0.01


def marks(found):
    return {finding.question: finding.mark for finding in found.findings}


@pytest.mark.slow
def test_a_synthetic_table_that_knows_no_atoms_is_red_and_one_that_knows_them_is_not():
    found = marks(measure_tables(claims(1), without_atoms(claims(1), 3), claims(2)))
    assert {question for question, mark in found.items() if mark == "poor"} >= {CLASSIFIER, ATOMS, TOGETHER, LAW}
    assert "poor" not in marks(measure_tables(claims(1), claims(3), claims(2))).values()


@pytest.mark.slow
def test_a_model_whose_schema_leaves_the_atoms_out_is_red_though_nobody_asks_for_them():
    wrong, right = Schema({"a": Real(), "b": Real()}), Schema(dict.fromkeys("ab", SemiContinuous((0.0,), Positive())))
    found = marks(measure(Model(wrong), claims(1), claims(2), without_atoms(claims(1), 3)))
    assert ATOMS not in found
    assert {question for question, mark in found.items() if mark == "poor"} >= {CLASSIFIER, BODY, LAW}
    found = marks(measure(Model(right), claims(1), claims(2), claims(3)))
    assert {found[question] for question in (CLASSIFIER, BODY, LAW, ATOMS, TOGETHER)} <= {"good", "fair"}


@pytest.mark.slow
def test_an_under_trained_model_is_red_and_the_same_model_with_more_steps_is_not(tmp_path):
    table = ptilde.datasets.load_randhie(ptilde.datasets.spending)
    order = np.random.default_rng(0).permutation(table.num_rows)
    train, test = table.take(order[:12_000]), table.take(order[12_000:17_000])
    found = {}
    for steps in (20, 300):
        model = ptilde.ScoreDensity(random_state=0, max_iter=steps).fit(train)
        found[steps] = marks(model.report(test, tmp_path / "page.html", train))
    assert {question for question, mark in found[20].items() if mark == "poor"} >= {CLASSIFIER, TOGETHER}
    assert "poor" not in found[300].values()
