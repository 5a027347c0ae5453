"""Tests of states, and of rows on atoms and bodies: exact small cases, levels, and faults that each must see."""

import numpy as np
import pytest
from scipy.stats import binom, fisher_exact

from ptilde import diagnostics as d
from ptilde.diagnostics.mixed import least

LAW = {(0, 0): 0.4, (0, 1): 0.1, (1, 0): 0.2, (1, 1): 0.3}  # whether either of two columns is in its body
SCALE = np.array([1.0, 1000.0])  # two units that differ


def rng(*seed):
    return np.random.default_rng(seed)


def rows(seed, n=500, law=LAW, spread=1.0, link=0.5):
    """Two columns, each 0 or log-normal, whose logs are linked where both are there; and the score of the true law."""
    g = rng(1, seed)
    states = np.array(list(law))[g.choice(len(law), n, p=list(law.values()))]
    z = g.normal(size=(n, 2))
    both = states.all(1)
    z[both, 1] = link * z[both, 0] + np.sqrt(1 - link**2) * z[both, 1]
    x = np.where(states == 1, SCALE * np.exp(spread * z), 0.0)
    return x, states


def score(x, link=0.5):
    there = x > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(x / SCALE)
        linked = there.all(1)[:, None]
        slope = np.where(linked, (-y + link * y[:, ::-1]) / (1 - link**2), -y)
        return np.where(there, (slope - 1) / x, np.nan)


def outcome(seed, drawn=True, num_signs=499, **changed):
    x, states = rows(seed, **changed)
    other = rows(10_000 + seed, n=2000)[1] if drawn else None
    law = None if drawn else LAW
    support = [(0, np.inf)] * 2
    return d.mixed_ksd_test(
        x, score(x), states=states, drawn_states=other, law=law, support=support, num_signs=num_signs, seed=seed
    )


@pytest.mark.parametrize("drawn", [True, False])
def test_a_right_model_of_mixed_rows_passes_as_often_as_it_should(drawn):
    results = [outcome(seed, drawn, num_signs=99, n=150) for seed in range(150)]
    for part in (lambda r: r.p_value, lambda r: r.bodies.p_value, lambda r: r.states.p_value):
        count = sum(part(result) <= 0.05 for result in results)
        assert count <= binom.isf(1e-5, 150, 0.05)
    assert sum(result.p_value <= 0.5 for result in results) >= binom.ppf(1e-5, 150, 0.5)


@pytest.mark.parametrize("drawn", [True, False])
def test_a_wrong_mass_at_an_atom_is_seen_in_the_states_alone(drawn):
    wrong = outcome(1, drawn, law={(0, 0): 0.3, (0, 1): 0.2, (1, 0): 0.2, (1, 1): 0.3})
    assert wrong.states.p_value < 0.02
    assert wrong.p_value < 0.05 < wrong.bodies.p_value


@pytest.mark.parametrize("drawn", [True, False])
def test_a_wrong_dependence_of_patterns_with_right_masses_is_seen(drawn):
    wrong = outcome(2, drawn, law={(0, 0): 0.3, (0, 1): 0.2, (1, 0): 0.3, (1, 1): 0.2})
    assert wrong.states.p_value < 0.02
    assert wrong.p_value < 0.05 < wrong.bodies.p_value


@pytest.mark.parametrize("changed", [{"spread": 1.3}, {"link": -0.3}], ids=str)
def test_a_wrong_body_is_seen_in_the_bodies_alone(changed):
    wrong = outcome(3, n=1500, **changed)
    assert wrong.bodies.p_value < 0.02 < wrong.states.p_value
    assert wrong.p_value < 0.05
    if "link" in changed:  # only where both columns are there
        assert wrong.by_state[1, 1] == 0.002 < min(wrong.by_state[0, 1], wrong.by_state[1, 0])


def test_units_of_the_columns_do_not_matter():
    x, there = rng(4).normal(size=(2, 300, 2))
    x, units = np.where(there > 0, x, np.nan), np.array([1e-3, 50.0])
    first, second = d.mixed_ksd_test(x, -x), d.mixed_ksd_test(x * units, -x / units)
    assert second.bodies.statistic == pytest.approx(first.bodies.statistic, rel=1e-6)
    assert second.by_state == first.by_state
    assert d.mixed_ksd_test(x * units, -3 * x / units).p_value < 0.01 < first.p_value


def test_rows_of_states_without_a_body_or_with_few_rows_are_not_tested():
    x, states = rows(5, n=60)
    result = d.mixed_ksd_test(x, score(x), support=[(0, np.inf)] * 2)
    counts = {state: int(np.sum(np.all(states == state, axis=1))) for state in LAW}
    assert set(result.by_state) == {state for state in LAW if any(state) and counts[state] >= 20}
    assert result.num_rows == sum(counts[state] for state in result.by_state)
    assert result.p_value == pytest.approx(result.bodies.p_value)
    with pytest.raises(ValueError, match="nothing to test: no state has 20 rows with a score"):
        d.mixed_ksd_test(x[:5], score(x[:5]))


def test_misplaced_scores_and_two_laws_are_refused():
    x, states = rows(6)
    with pytest.raises(ValueError, match="a score in the same columns; state"):
        d.mixed_ksd_test(x, score(x), states=np.zeros(len(x), int))
    with pytest.raises(ValueError, match="one of `drawn_states` and `law` must be None; got both"):
        d.mixed_ksd_test(x, score(x), states=states, drawn_states=states, law=LAW)
    with pytest.raises(ValueError, match=r"of one shape \(n, d\)"):
        d.mixed_ksd_test(x, score(x)[:, :1])


def test_the_pattern_test_of_two_states_is_fishers_exact_test():
    # For a 2 x 2 table G orders tables as their hypergeometric law does here, so both p-values agree.
    a, b = np.repeat([0, 1], [3, 17]), np.repeat([0, 1], [11, 9])
    exact = fisher_exact([[3, 17], [11, 9]]).pvalue
    assert d.pattern_test(a, b, num_draws=40_000).p_value == pytest.approx(exact, abs=4.5 * np.sqrt(exact / 40_000))


def test_the_fit_of_states_is_the_multinomial_test():
    # Eight heads of ten: as far from 5 are 0, 1, 2, 8, 9 and 10 heads.
    exact = 2 * binom.sf(7, 10, 0.5)
    heads = np.repeat([0, 1], [2, 8])
    found = d.pattern_fit_test(heads, {(0,): 0.5, (1,): 0.5}, num_draws=40_000).p_value
    assert found == pytest.approx(exact, abs=4.5 * np.sqrt(exact / 40_000))


def test_a_state_that_the_law_excludes_or_leaves_to_the_rest_counts():
    assert d.pattern_fit_test([0, 0, 2], {(0,): 0.5, (1,): 0.5}).p_value == 0.001
    assert d.pattern_fit_test([0, 0, 2], {(0,): 0.5, (1,): 0.3}).p_value > 0.3
    with pytest.raises(ValueError, match="sum to one at most; got a sum of 1.2"):
        d.pattern_fit_test([0, 1], {(0,): 0.5, (1,): 0.7})


def test_one_wrong_column_among_many_is_seen_though_every_row_has_a_pattern_of_its_own():
    a, b = rng(7).random((400, 12)) < 0.5, rng(8).random((400, 12)) < 0.5
    assert d.pattern_test(a, b).p_value > 0.01
    b[:, 3] = rng(9).random(400) < 0.7
    assert d.pattern_test(a, b).p_value < 0.01


def test_pairs_of_columns_are_compared_two_by_two():
    a = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1]])
    b = a[:, [0, 1, 1]]
    pairs = d.pair_patterns(a, b)
    assert {pair: estimate.value for pair, estimate in pairs.items()} == {(0, 1): 0.0, (0, 2): 0.5, (1, 2): 0.5}


def test_the_least_of_independent_p_values_is_made_uniform_and_one_stays_itself():
    p = rng(10).random((4000, 2))
    together = np.array([least(pair) for pair in p])
    assert np.mean(together <= 0.05) == pytest.approx(0.05, abs=4.5 * np.sqrt(0.05 * 0.95 / 4000))
    assert least([0.3]) == pytest.approx(0.3)
