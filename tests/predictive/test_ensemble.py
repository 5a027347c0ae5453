"""From members to laws of a column: the mean of the members, whatever the blocks."""

import numpy as np
import pytest
from predictive.laws_by_hand import STRAIGHT
from predictive.members_by_hand import LOW, VARIANCE, means, member, rows
from scipy.stats import lognorm

from ptilde import Positive, SemiContinuous
from ptilde.predictive import ensemble, predictive_laws, token_shares
from ptilde.tabular.bodies import BodyMap
from ptilde.tabular.charts import HalfLine
from ptilde.tabular.columns import Column
from ptilde.tabular.marginal import Marginal

BODY = BodyMap(Marginal(HalfLine(), STRAIGHT), (None,))
COLUMN = Column("y", SemiContinuous((0.0,), Positive()), (0.0,), BODY)
Y = np.array([0.0, 0.2, 1.0, 3.0, 20.0])


@pytest.fixture(scope="module")
def members():
    return member(0), member(1)


def one_block(members, given, route="one_pass"):
    [(_, law)] = predictive_laws(members, COLUMN, given, route)
    return law


def exact(members, given):
    """(n, m) distribution functions at Y: the mean over the members of shares and log-normal laws."""
    found, zero = np.zeros((len(given), len(Y))), np.zeros((len(given), 1), np.int32)
    for joint in members:
        share = np.exp(joint.log_states(zero, given))[:, None]
        body = lognorm(np.sqrt(VARIANCE + LOW**2), scale=np.exp(means(joint.amounts, given))[:, None])
        found += (share + (1 - share) * body.cdf(Y)) / len(members)
    return found


@pytest.mark.parametrize(("route", "off"), [("one_pass", 1e-5), ("ode", 2e-3)])
def test_the_law_is_the_mean_of_the_members(members, route, off):
    given = rows()[1]
    found = one_block(members, given, route).cdf(np.broadcast_to(Y, (len(given), len(Y))))
    np.testing.assert_allclose(found, exact(members, given), atol=off)
    assert np.abs(found - exact(members[:1], given)).max() > 0.05  # were only one counted


def test_shares_sum_to_one_to_the_last_digit_so_that_no_quantile_is_a_giant(members):
    given = rows(200)[1]
    law = one_block(members, given)
    sums = law.shares.sum(1) + sum(p.share for p in law.pieces)
    np.testing.assert_allclose(sums, 1, atol=1e-15)
    centre = np.max([means(m.amounts, given) for m in members], axis=0)
    far = law.quantile(np.array([1 - 1e-9]))[:, 0]
    assert np.all(np.log(far) < centre + 7 * np.sqrt(VARIANCE + LOW**2))


def test_rows_come_in_blocks_that_change_nothing(members, monkeypatch):
    given = rows(8)[1]
    whole = one_block(members, given).mean()
    monkeypatch.setattr(ensemble, "ROWS", 3)
    parts = list(predictive_laws(members, COLUMN, given))
    assert [len(given[rows]) for rows, _ in parts] == [3, 3, 2]
    np.testing.assert_allclose(np.concatenate([law.mean() for _, law in parts]), whole, rtol=1e-12)


def test_shares_of_tokens_are_those_of_the_states(members):
    given = rows()[1]
    for token in (0, 1):
        state = np.full((len(given), 1), token, np.int32)
        expected = np.exp(members[0].log_states(state, given))
        np.testing.assert_allclose(token_shares(members[0], given, 2)[:, token], expected, rtol=1e-5)
