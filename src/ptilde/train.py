"""From encoded rows to a fitted joint density: what is held out, how large, how long.

The law of the states is learnt by cross-entropy. That of the amounts is learnt twice: by dual score matching as they
are, and as a triangular map leaves them that maximum likelihood has brought near N(0, I). The map takes up what is
sharp, where columns nearly determine each other; it is smooth at first and then sees more, and held-out rows say,
column by column, when it begins to follow single rows. They decide between the laws, too.

Sizes come from the rules of `Plan.of`; a person gives steps or seconds instead.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import NDArray

from ptilde.amounts import AmountDensity, transported
from ptilde.batches import Data
from ptilde.fit import Denoise, Descent, Event, Keeper, Likelihood, Trajectory, Unmask, descend
from ptilde.joint import JointDensity
from ptilde.losses import Dual
from ptilde.models import NoiseConditionalDensity, TriangularMap
from ptilde.plan import (
    SCORES_SHARE,
    SHARP_SHARE,
    SMOOTH_SHARE,
    STATES_SHARE,
    STATES_WEIGHT_DECAY,
    SURE_ROWS,
    WEIGHT_DECAY,
    Plan,
)
from ptilde.strata import Gaussian, Layout
from ptilde.tabular.states import StateDensity

# Of the level term. 1, 2 and 3 give the same held-out log density; more ties one-pass and ODE density closer together.
LEVEL_WEIGHT = 2.0
# The least σ, as a share of the narrowest direction of the data, and the largest. At 8 the Gaussian base, which has the
# data's mean and covariance, differs from blurred data in terms of order σ⁻³. What a map has brought near N(0, I) does
# with fewer levels, which are then learnt better.
NOISE, NOISE_MAPPED = (0.03, 8.0), (0.1, 2.5)
LEAST_SIGMA = 0.003
CALIBRATION_DRAWS = 50_000
# Of the sines and cosines that a map sees columns through: at first, which is all that few rows are worth, and at last.
NUM_FREQUENCIES = (1, 4)
HELD_OUT_SHARE = 0.1
FEW_ROWS, FEWEST_ROWS = 100, 20  # below the first nothing is held out; beside covariates a third, below the second
ROWS_PER_PAIR = 10  # of tokens, from which on a law of states is learnt without holding rows out


class Encoded(NamedTuple):
    """Rows to learn from.

    Attributes:
        state: (n, K) tokens.
        z: (n, d) amounts.
        weight: (n,) of mean one.
        held_out: (n,) rows by which weights are chosen.
        given: (n, c) covariates.
    """

    state: NDArray[np.int32]
    z: NDArray[Any]
    weight: NDArray[np.float64]
    held_out: NDArray[np.bool_]
    given: NDArray[np.float32]

    @property
    def judges(self) -> NDArray[np.bool_]:
        """(n,) held-out rows that have weight."""
        return self.held_out & (self.weight > 0)


def held_out_rows(n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A tenth of the rows, or none if there are few."""
    out = np.zeros(n, bool)
    if n >= FEW_ROWS:
        out[rng.permutation(n)[: round(HELD_OUT_SHARE * n)]] = True
    return out


def folds(state: NDArray[np.int32], z: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int_]:
    """(n,) a fold for each row, alike in states and amounts: one of ten, of three if rows are few, -1 if fewer."""
    n = len(state)
    num = 10 if n >= FEW_ROWS else 3 if n >= FEWEST_ROWS else 1
    order = np.lexsort((*z.T, *state.T)) if state.size + z.size else np.arange(n)
    shuffled = np.concatenate([rng.permutation(num) for _ in range(-(-n // num))])[:n]
    fold = np.empty(n, int)
    fold[order] = shuffled
    return fold if num > 1 else fold - 1


def train(
    layout: Layout,
    rows: Encoded,
    max_iter: int | str,
    seconds: float | None,
    key: PRNGKeyArray,
    callback: Callable[[Event], None] | None = None,
    with_scores: bool = True,
    keeper: Keeper | None = None,
) -> tuple[JointDensity, dict[str, Trajectory]]:
    """Fit the law of the states and the law of the amounts given the state.

    Args:
        layout: how states and amounts hang together.
        rows: what to learn from.
        max_iter: steps of each descent, or "auto".
        seconds: to spend in all, if limited.
        key: of all randomness.
        callback: told of the progress.
        with_scores: whether, where there are covariates, scores behind the map are tried.
        keeper: of where descents stand.
    """
    began = time.monotonic()
    init, walk = jr.split(key)
    histories: dict[str, Trajectory] = {}

    def fit(stage: str, share: float, descent: Descent, objective: Any, model: Any, data: Any) -> Any:
        left = None if seconds is None else share * max(seconds - (time.monotonic() - began), 1.0)
        to_stage, (fitted, held_out) = jr.fold_in(walk, len(histories)), data
        histories[stage] = descend(
            objective,
            model,
            fitted,
            held_out,
            descent,
            to_stage,
            stage=stage,
            seconds=left,
            callback=callback,
            keeper=keeper,
        )
        return histories[stage].model

    states, amounts = None, None
    if layout.num_tokens:
        plan = Plan.of(len(rows.weight), len(layout.num_tokens), max_iter)
        share = STATES_SHARE if layout.bodies else 1.0
        data = _states(layout, rows)
        decay = WEIGHT_DECAY if data[1] is None else STATES_WEIGHT_DECAY
        descent = eqx.tree_at(lambda d: d.weight_decay, plan.states, jnp.asarray(decay, jnp.float32))
        states = _independent(layout, rows, plan, init)
        if rows.judges.any() or not layout.basis.num_features:  # else rows are too few to learn what covariates say
            states = fit("states", share, descent, Unmask(), states, data)
    if layout.bodies:
        amounts = _chosen(_laws(layout, rows, max_iter, fit, init, with_scores), rows)
    return jax.tree.map(np.asarray, JointDensity(states, amounts)), histories


def _laws(
    layout: Layout, rows: Encoded, max_iter: Any, fit: Callable, key: PRNGKeyArray, with_scores: bool
) -> Iterator[AmountDensity]:
    """The laws of the amounts that are tried; beside covariates the first does not know them."""
    num_rows, num_features = int(layout.active_rows(rows.state).any(1).sum()), layout.basis.num_features
    plan = Plan.of(num_rows, len(layout.bodies), max_iter, num_features > 0)
    few = not rows.judges.any()
    yield (start := _gaussian(layout, rows, NOISE))
    if num_features:
        yield _gaussian(layout, rows, NOISE, rows.given)
    else:
        yield _scored(start, rows, plan, partial(fit, "scores", 1.0 if few else SCORES_SHARE, plan.scores), key)
    if few:  # nothing would tell what a map has learnt from the rows that it follows
        return
    transport = _fit_map(layout, rows, plan, fit, key, SMOOTH_SHARE if with_scores else 1.0)
    rows = rows._replace(z=transported(transport, layout, rows.state, rows.z, rows.given))
    start = _gaussian(layout, rows, NOISE_MAPPED)
    yield _with(start, transport=transport)
    if not with_scores:
        return
    scored = _scored(start, rows, plan, partial(fit, "scores behind the map", 1.0, plan.behind), key)
    yield _with(scored, transport=transport)


def _scored(start: AmountDensity, rows: Encoded, plan: Plan, fit: Callable, key: PRNGKeyArray) -> AmountDensity:
    """The law with scores learnt by dual score matching, and its mass brought to 1."""
    base, layout = start.gaussian.base(start.layout, rows.state)[0], start.layout
    network = NoiseConditionalDensity(len(layout.bodies), layout.num_context, plan.width, plan.depth, key=key)
    network = fit(Denoise(Dual(LEVEL_WEIGHT), base, start.log_sigma), network, _amounts(layout, rows))
    some, scored = _spread(rows.weight, CALIBRATION_DRAWS), _with(start, network=network)
    return scored.calibrated(rows.state[some], key, rows.given[some])


def _with(law: AmountDensity, **parts: Any) -> AmountDensity:
    """The law with other parts."""
    return eqx.tree_at(lambda a: [getattr(a, n) for n in parts], law, [*parts.values()], is_leaf=lambda a: a is None)


def _fit_map(
    layout: Layout, rows: Encoded, plan: Plan, fit: Callable, key: PRNGKeyArray, share: float
) -> TriangularMap:
    """The map that maximises the likelihood of the rows, but for what only single rows speak for."""
    data, (few, all_) = _amounts(layout, rows), NUM_FREQUENCIES
    d, additive = len(layout.bodies), layout.basis.num_features > 0
    start = TriangularMap(d, layout.num_context, plan.map_width, num_frequencies=few, additive=additive, key=key)
    if layout.basis.num_indices and len(np.unique(rows.given, axis=0)) < SURE_ROWS:  # copies of a row count once
        first = _amounts(layout, rows._replace(given=layout.basis.indices_alone(rows.given)))
        unseen = np.concatenate([np.zeros(sum(layout.num_tokens), bool), layout.basis.summarised])
        start = fit("map by index", share / 2, plan.smooth, Likelihood(layout), start.blind(jnp.asarray(unseen)), first)
    smooth = fit("map", share, plan.smooth, Likelihood(layout), start, data)
    if d == 1 or additive:  # there is no column before it, or more before all than can be followed sharply
        return smooth
    return fit("sharper map", SHARP_SHARE, plan.sharp, Likelihood(layout), smooth.refined(all_), data)


def _independent(layout: Layout, rows: Encoded, plan: Plan, key: PRNGKeyArray) -> StateDensity:
    """The law of the states before it is learnt: independent columns."""
    shares = [_log_shares(rows.state[:, k], rows.weight, n) for k, n in enumerate(layout.num_tokens)]
    log_shares = jnp.asarray(np.concatenate(shares), jnp.float32)
    return StateDensity(layout.num_tokens, plan.width, log_shares, layout.basis, key=key)


def _states(layout: Layout, rows: Encoded) -> tuple[Data, Data | None]:
    # A law of few tokens is learnt from all rows: it cannot follow them one by one, unless covariates tell them apart.
    few = not rows.given.shape[1] and sum(layout.num_tokens) ** 2 * ROWS_PER_PAIR < len(rows.weight)
    held_out = np.zeros_like(rows.held_out) if few else rows.held_out
    return _split((rows.state, rows.given), rows.weight, held_out, np.lexsort(rows.state.T))


def _gaussian(layout: Layout, rows: Encoded, noise: tuple[float, float], given: Any = None) -> AmountDensity:
    """The law before scores are learnt: a Gaussian, the same for all covariates unless they are given.

    With them it has effects enough to follow rows, and is judged like the others: by rows that it has not seen.
    """
    weight = rows.weight if given is None or not rows.judges.any() else rows.weight * ~rows.held_out
    gaussian = Gaussian.fit(layout, rows.state, rows.z, weight, given)
    log_sigma = jnp.log(jnp.array([max(noise[0] * gaussian.least_spread, LEAST_SIGMA), noise[1]]))
    return AmountDensity(layout, None, gaussian, None, log_sigma, jnp.zeros(()))


def _amounts(layout: Layout, rows: Encoded) -> tuple[Data, Data | None]:
    active = layout.active_rows(rows.state)
    # Rows that a noisy one may have come from: those with the same law, no two where there are covariates.
    group = np.arange(len(active), dtype=np.int32) if rows.given.shape[1] else _equal_rows(rows.state)
    pattern = _equal_rows(active)
    arrays = pattern, rows.z.astype(np.float32), rows.state, rows.given, group
    return _split(arrays, _column_weight(active, rows.weight), rows.held_out, np.lexsort((rows.z[:, 0], pattern)))


def _equal_rows(table: NDArray[Any]) -> NDArray[np.int32]:
    """(n,) a number for each row of whole numbers from 0 up, the same for equal rows."""
    code, size = np.zeros(len(table), np.int64), 1
    for column in table.T:
        width = int(column.max()) + 1
        if size * width > 2**62:
            code = np.unique(code, return_inverse=True)[1]
            size = len(table)
        code, size = code * width + column, size * width
    return np.unique(code, return_inverse=True)[1].astype(np.int32)


def _chosen(laws: Iterator[AmountDensity], rows: Encoded) -> AmountDensity:
    """The law under which held-out rows are most likely; all rows if none are held out.

    Beside covariates scores must do better by two standard errors: they cost as much as all the rest.
    """
    best, known, score = None, np.zeros(0), -np.inf
    for law in laws:
        value, weight = _held_out(law, rows)
        mean, doubt = np.average(value, weights=weight), 0.0
        if law.network is not None and rows.given.shape[1] and np.isfinite([mean, score]).all():
            doubt = 2 * _standard_error(value - known, weight)
        if best is None or mean > score + doubt:
            best, known, score = law, value, mean
    assert best is not None
    return best


def _standard_error(value: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Of a weighted mean."""
    away = weight * (value - np.average(value, weights=weight))
    return float(np.sqrt(np.sum(away**2)) / np.sum(weight))


def _held_out(amounts: AmountDensity, rows: Encoded) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log density of held-out rows, and their weights."""
    chosen = rows.judges if rows.judges.any() else np.ones_like(rows.held_out)
    return amounts.log_prob(rows.state[chosen], rows.z[chosen], rows.given[chosen]), rows.weight[chosen]


def _split(
    rows: Any, weight: NDArray[Any], held_out: NDArray[np.bool_], order: NDArray[Any]
) -> tuple[Data, Data | None]:
    """The rows to fit to and the held-out ones, each in an order in which neighbours are alike."""
    parts = []
    for chosen in (order[~held_out[order]], order[held_out[order]]):
        total = weight[chosen].sum()
        parts.append(Data.of(jax.tree.map(lambda a: a[chosen], rows), weight[chosen]) if total > 0 else None)  # noqa: B023
    return parts[0] or parts[1], parts[1]


def _column_weight(active: NDArray[np.bool_], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""How often a row is drawn: $\sum_{j \in A} \pi_j^{-1/2}$, so that rarely active columns learn too.

    A factor that depends on the state alone leaves the law given the state as it is.
    """
    share = np.maximum(np.average(active, axis=0, weights=weight), 1e-6)
    return weight * (active / np.sqrt(share)).sum(1)


def _spread(weight: NDArray[np.float64], num: int) -> NDArray[np.int_]:
    """The positions of `num` rows that stand for all, in proportion to their weights."""
    cumulative = np.cumsum(weight)
    return np.searchsorted(cumulative, cumulative[-1] * (np.arange(num) + 0.5) / num)


def _log_shares(token: NDArray[np.int32], weight: NDArray[np.float64], num_tokens: int) -> NDArray[np.float64]:
    share = np.bincount(token, weight, num_tokens) + 0.5
    return np.log(share / share.sum())
