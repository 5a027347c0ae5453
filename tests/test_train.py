"""From rows to a joint density: a map where it pays, scores where they help, both as held-out rows say."""

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import shaken
from scipy.stats import norm

from ptilde import train as training
from ptilde.fit import Trajectory, descend
from ptilde.plan import SCORES_SHARE, SHARP_SHARE, SMOOTH_SHARE, STATES_SHARE, Plan
from ptilde.strata import Layout
from ptilde.tabular.covariates import Basis
from ptilde.train import Encoded, held_out_rows, train

BOTH_ALWAYS = Layout((2,), (None, None))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Small networks."""
    of = Plan.of
    monkeypatch.setattr(Plan, "of", lambda *sizes: of(*sizes)._replace(width=8, depth=1, map_width=16))


def same(model):
    """A descent that changes nothing."""
    return model


def fake(monkeypatch, transport=same, scores=same):
    """Put functions of a model in the place of descents; None leaves a descent as it is."""
    told = []

    def instead(objective, model, *data, stage, **more):
        told.append((stage, more["seconds"]))
        function = {"states": same, "map": transport, "map by index": transport, "sharper map": transport}.get(
            stage, scores
        )
        if function is None:
            return descend(objective, model, *data, stage=stage, **more)
        return Trajectory(function(model), [], [], [], [])

    monkeypatch.setattr(training, "descend", instead)
    return told


def encoded(state, z, held_out):
    return Encoded(state.astype(np.int32), z, np.ones(len(z)), held_out, np.zeros((len(z), 0), np.float32))


def bent(n, bend, seed=0):
    """Two states, x₁ ~ N(0, 1) and x₂ | x₁ ~ N(± b (x₁² - 1), ½²); the log density given the state."""
    rng = np.random.default_rng(seed)
    state, x, noise = rng.integers(2, size=(n, 1)), rng.normal(size=n), rng.normal(size=n)
    z = np.stack([x, bend * (2 * state[:, 0] - 1) * (x**2 - 1) + 0.5 * noise], axis=1)
    return encoded(state, z, held_out_rows(n, rng)), norm.logpdf(x) + norm.logpdf(noise) - np.log(0.5)


def lost(amounts, bend):
    """Nats a row by which fresh rows are less likely than under the true law."""
    fresh, exact = bent(20_000, bend, seed=1)
    return np.mean(exact - amounts.log_prob(fresh.state, fresh.z))


def test_a_map_that_pays_is_kept_and_comes_within_three_hundredths_of_a_nat(monkeypatch):
    rows = bent(12_000, 0.5)[0]
    fake(monkeypatch, transport=None)
    joint, histories = train(BOTH_ALWAYS, rows, 1500, None, jr.key(0))
    assert "map" in histories and joint.amounts.transport is not None
    fake(monkeypatch)
    gaussian = train(BOTH_ALWAYS, rows, 1500, None, jr.key(0))[0].amounts
    assert -0.01 < lost(joint.amounts, 0.5) < 0.03 and lost(gaussian, 0.5) > 0.4


def test_a_map_that_does_not_pay_costs_nothing(monkeypatch):
    fake(monkeypatch, transport=None)
    amounts = train(BOTH_ALWAYS, bent(12_000, 0.0)[0], 600, None, jr.key(0))[0].amounts
    assert lost(amounts, 0.0) < 0.01


def test_few_rows_get_no_map_and_a_single_column_no_sharper_one(monkeypatch):
    fake(monkeypatch)

    def stages(layout, num):
        rows = bent(num, 0.0)[0]
        rows = rows._replace(state=rows.state[:, : len(layout.num_tokens)], z=rows.z[:, : len(layout.bodies)])
        return list(train(layout, rows, "auto", None, jr.key(0))[1])

    assert stages(BOTH_ALWAYS, 99) == ["states", "scores"]
    assert stages(BOTH_ALWAYS, 100) == ["states", "scores", "map", "sharper map", "scores behind the map"]
    assert stages(Layout((), (None,)), 100) == ["scores", "map", "scores behind the map"]


@pytest.mark.parametrize(("num_tokens", "held_out"), [(3, False), (4, True)])
def test_the_law_of_the_states_decays_faster_where_rows_are_held_out_for_it(monkeypatch, num_tokens, held_out):
    given = []

    def note(objective, model, fitted, held_out, descent, *key, stage, **more):
        given.append((held_out is not None, float(descent.weight_decay)))
        return Trajectory(model, [], [], [], [])

    monkeypatch.setattr(training, "descend", note)
    rows, layout = bent(120, 0.0)[0], Layout((num_tokens,), ())  # ten for each pair of tokens, and more: from 91 or 161
    train(layout, rows._replace(z=np.zeros((120, 0))), "auto", None, jr.key(0))
    decay = training.STATES_WEIGHT_DECAY if held_out else training.WEIGHT_DECAY
    assert given == [(held_out, pytest.approx(decay))] and training.STATES_WEIGHT_DECAY > training.WEIGHT_DECAY


def test_a_map_that_makes_held_out_rows_less_likely_is_left_out(monkeypatch):
    fake(monkeypatch, transport=lambda model: shaken(model, scale=0.3))
    joint, histories = train(BOTH_ALWAYS, bent(1000, 0.0)[0], "auto", None, jr.key(0))
    assert "map" in histories and joint.amounts.transport is None


def tilted(by):
    """Scores with a constant head: rows far along the first column become more likely, others less."""
    return lambda model: eqx.tree_at(lambda m: m.network.last.bias, model, np.float32([by, 0.0, 0.0]))


@pytest.mark.parametrize("held_out", [None, -1, 1])
def test_scores_are_kept_only_if_held_out_rows_become_more_likely(monkeypatch, held_out):
    rows = bent(400, 0.0)[0]
    rows = encoded(rows.state, rows.z, np.zeros(400, bool) if held_out is None else held_out * rows.z[:, 0] > 1)
    for by in (-0.03, 0.03):
        fake(monkeypatch, scores=tilted(by))
        network = train(BOTH_ALWAYS, rows, "auto", None, jr.key(0))[0].amounts.network
        # Either tilt makes all rows together, which lie around the mean of the base, less likely.
        kept = held_out is not None and held_out * by > 0
        assert (network is None) == (not kept)
        if kept:
            np.testing.assert_array_equal(network.network.last.bias, np.float32([by, 0.0, 0.0]))


def test_held_out_rows_without_weight_are_as_none(monkeypatch):
    rows = bent(400, 0.0)[0]
    fake(monkeypatch)
    rows = rows._replace(weight=np.where(rows.held_out, 0.0, 1.0))
    joint, histories = train(BOTH_ALWAYS, rows, "auto", None, jr.key(0))
    assert "map" not in histories and joint.amounts.transport is None


def test_each_descent_gets_its_share_of_the_time_and_the_last_all_that_is_left(monkeypatch):
    monkeypatch.setattr(training.time, "monotonic", lambda: 0.0)
    told = fake(monkeypatch)
    train(BOTH_ALWAYS, bent(100, 0.0)[0], "auto", 60.0, jr.key(0))
    assert told == [
        ("states", 60 * STATES_SHARE),
        ("scores", 60 * SCORES_SHARE),
        ("map", 60 * SMOOTH_SHARE),
        ("sharper map", 60 * SHARP_SHARE),
        ("scores behind the map", 60),
    ]
    assert max(seconds for _, seconds in told[:-1]) < 60


# Rows that are alike, and rows that stand for others


def grouping(number):
    """For each row the first one of its group."""
    _, first, inverse = np.unique(number, axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


@pytest.mark.parametrize(("num_tokens", "num_columns"), [(2, 3), (5, 8), (9, 60)])  # the last: 9^60 codes
def test_equal_rows_and_no_others_have_the_same_number(num_tokens, num_columns):
    rng = np.random.default_rng(0)
    table = rng.integers(num_tokens, size=(200, num_columns), dtype=np.int32)[rng.integers(200, size=1000)]
    table[::3, -1] = 0
    for rows in (table, table > 0):
        assert len(np.unique(grouping(rows))) < 400
        np.testing.assert_array_equal(grouping(training._equal_rows(rows)), grouping(rows))


def test_rows_are_told_apart_where_codes_would_wrap_around():
    last = 2**31 - 1
    rows = np.array([[0, 0, 0], [4, 0, 0], [last, last, last], [0, 0, 0]])  # 4·2^62 is 0 in 64 bits
    np.testing.assert_array_equal(grouping(training._equal_rows(rows)), [0, 1, 2, 0])


def test_without_columns_all_rows_are_equal():
    np.testing.assert_array_equal(training._equal_rows(np.zeros((5, 0), np.int32)), 0)


@pytest.mark.parametrize("num", [7, 200, 50_000])
def test_rows_stand_for_all_in_proportion_to_their_weights(num):
    rng = np.random.default_rng(0)
    weight = np.where(rng.random(300) < 0.4, 0.0, rng.lognormal(sigma=2.0, size=300))
    weight[[0, -1]] = 0.0
    chosen = training._spread(weight, num)
    assert chosen.shape == (num,) and np.all(weight[chosen] > 0)
    assert np.max(np.abs(np.bincount(chosen, minlength=300) - num * weight / weight.sum())) < 1


class Told:
    """A law whose log density of each row is given; with scores or without."""

    def __init__(self, value, network=None):
        self.value, self.network = np.asarray(value, float), network

    def log_prob(self, state, z, given):
        return self.value


def chosen(num_covariates, *laws):
    n = len(laws[0].value)
    given = np.zeros((n, num_covariates), np.float32)
    rows = Encoded(np.zeros((n, 0), np.int32), np.zeros((n, 1)), np.ones(n), np.ones(n, bool), given)
    return training._chosen(iter(laws), rows)


def test_an_impossible_held_out_row_loses_against_any_law_that_allows_it():
    never, poor = Told([0.0, -np.inf, 0.0]), Told([-9.0, -9.0, -9.0])
    assert chosen(0, never, poor) is poor and chosen(0, poor, never) is poor
    assert chosen(1, never, Told(poor.value, network="scores")).network == "scores"


def test_beside_covariates_scores_must_be_better_beyond_doubt():
    noise = np.random.default_rng(0).normal(size=100)
    plain, error = Told(np.zeros(100)), noise.std() / 10
    for gain, kept in [(1.5 * error, False), (2.5 * error, True)]:
        scored = Told(noise - noise.mean() + gain, network="scores")
        assert (chosen(1, plain, scored) is scored) == kept
        assert chosen(0, plain, scored) is scored  # without covariates any gain will do


def test_the_gaussian_that_knows_covariates_has_not_seen_the_rows_that_judge_it():
    rng = np.random.default_rng(0)
    given = rng.integers(0, 2, (200, 1)).astype(np.float32)
    z, held_out = 2 * given + rng.normal(size=(200, 1)), np.arange(200) < 40
    layout = Layout((), (None,), Basis((), (2,)))
    rows = Encoded(np.zeros((200, 0), np.int32), z, np.ones(200), held_out, given)
    first = training._gaussian(layout, rows, training.NOISE, rows.given).gaussian
    spoilt = rows._replace(z=np.where(held_out[:, None], 1e3, z))
    second = training._gaussian(layout, spoilt, training.NOISE, rows.given).gaussian
    np.testing.assert_array_equal(first.coefficients, second.coefficients)
    np.testing.assert_array_equal(first.covariance, second.covariance)


def test_of_covariates_a_map_learns_first_what_their_index_says():
    """That stage sees constants in the place of all others, and leaves what it has not seen without weight."""
    rng = np.random.default_rng(1)
    basis = Basis((3, 3), (2,), num_indices=1)
    given = np.column_stack([rng.uniform(0, 3, (300, 2)), rng.integers(0, 2, 300)]).astype(np.float32)
    z, held_out = given[:, [1]] + 0.1 * rng.normal(size=(300, 1)), np.arange(300) < 60
    rows = Encoded(np.zeros((300, 0), np.int32), z, np.ones(300), held_out, given)
    seen = {}

    def fit(stage, share, descent, objective, model, data):
        seen[stage] = model, descend(objective, model, *data, descent, jr.key(0)).model, data[0].rows
        return seen[stage][1]

    layout = Layout((), (None,), basis)
    training._fit_map(layout, rows, Plan.of(300, 1, 200, True), fit, jr.key(0), 1.0)
    (_, learnt, data), (start, _, whole) = seen["map by index"], seen["map"]
    assert eqx.tree_equal(start, learnt)
    unseen = np.append(basis.summarised, False)  # the last says whether the column is active
    additive = np.asarray(learnt.columns.additive)
    assert np.all(additive[..., unseen] == 0) and np.any(additive[..., ~unseen] != 0)
    assert np.all(np.asarray(learnt.columns.first)[..., -len(unseen) :][..., unseen] == 0)
    data, whole = data[3][:240], whole[3][:240]  # behind them is padding
    np.testing.assert_array_equal(data[:, 1], whole[:, 1])
    assert np.unique(data[:, [0, 2]], axis=0).shape == (1, 2)


def test_beside_covariates_scores_are_left_out_where_they_are_told_not_to_help(monkeypatch):
    rng = np.random.default_rng(2)
    given, z = rng.uniform(0, 3, (300, 1)).astype(np.float32), rng.normal(size=(300, 1))
    rows = Encoded(np.zeros((300, 0), np.int32), z, np.ones(300), np.arange(300) < 60, given)
    layout, run = Layout((), (None,), Basis((3,))), []
    for with_scores in (True, False):
        fake(monkeypatch)
        joint, histories = train(layout, rows, 100, 60.0, jr.key(0), with_scores=with_scores)
        run.append(list(histories))
        assert joint.amounts is not None
    assert run == [["map", "scores behind the map"], ["map"]]
    told = fake(monkeypatch)
    train(layout, rows, 100, 60.0, jr.key(0), with_scores=False)
    assert told == [("map", pytest.approx(60, abs=1))]  # what is left is for the map
