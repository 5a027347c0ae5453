"""From the members of an ensemble and covariates to the laws of a column, block by block of rows."""

from collections.abc import Iterator
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from ptilde.amounts import in_blocks
from ptilde.joint import JointDensity
from ptilde.predictive.law import Piece, PredictiveLaw
from ptilde.predictive.nodes import by_flow, by_quadrature
from ptilde.tabular.columns import Column
from ptilde.tabular.states import StateDensity

ROWS = 2048  # in a block: what is held of them is some 100 MB
ROUTES = {"one_pass": by_quadrature, "ode": by_flow}


def predictive_laws(
    members: tuple[JointDensity, ...], column: Column, given: NDArray[np.float32], route: str = "one_pass"
) -> Iterator[tuple[slice, PredictiveLaw]]:
    """The laws of a column that stands alone, given covariates (n, c), each with the rows that it is for.

    Args:
        members: of the ensemble, weighing the same.
        column: the only one.
        given: covariates.
        route: "one_pass" or "ode", to the law of the amounts.
    """
    for start in range(0, len(given), ROWS):
        rows = slice(start, start + ROWS)
        yield rows, _law(members, column, given[rows], route)


def _law(members: tuple[JointDensity, ...], column: Column, given: NDArray[np.float32], route: str) -> PredictiveLaw:
    shares = [token_shares(m, given, column.num_tokens) for m in members]
    shares = [share / (share.sum(1, keepdims=True) * len(members)) for share in shares]  # float32 knows 1 to 1e-7
    pieces = []
    for member, share in zip(members, shares, strict=True):
        for token in range(column.body_token, column.num_tokens):
            assert member.amounts is not None
            state = np.full((len(given), int(column.num_tokens > 1)), token, np.int32)
            nodes = ROUTES[route](member.amounts, state, given)
            pieces.append(Piece(token - column.body_token, share[:, token], nodes))
    points = np.array(column.points, np.float64)
    return PredictiveLaw(column, points, np.sum(shares, 0)[:, : len(points)], tuple(pieces))


def token_shares(member: JointDensity, given: NDArray[np.float32], num_tokens: int) -> NDArray[np.float64]:
    """(n, tokens) probabilities of the tokens of all columns, each column's given none of the others."""
    if member.states is None:
        return np.ones((len(given), num_tokens))
    return in_blocks(partial(_shares, member.states), len(given), given)


@eqx.filter_jit
def _shares(states: StateDensity, given: Array) -> Array:
    unseen = jnp.zeros(len(states.num_tokens), bool)
    tokens = jnp.zeros(len(states.num_tokens), jnp.int32)
    return jax.vmap(lambda given: jnp.exp(states(tokens, unseen, given)))(given)
