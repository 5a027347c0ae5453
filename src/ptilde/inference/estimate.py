r"""Parameters of a density that is known up to a constant, with honest standard errors.

$\hat\theta$ minimises the mean of a loss $\ell(\theta; x)$ that sees log q through its derivatives in x, and through
its differences between atoms. Nothing is integrated. With $H$ the mean of $\nabla^2\ell$ and $J$ that of
$\nabla\ell\,\nabla\ell^\top$, $\hat\theta$ is asymptotically normal with covariance $H^{-1}JH^{-1}/n$ (the sandwich;
Huber 1967), whether or not some θ is the truth.

Numbers are float64, within these calls only: JAX's own setting is left as it is.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from ptilde import _validate
from ptilde.batches import Data
from ptilde.fit import Descent, NoMinimum, Unidentified, descend, solve
from ptilde.fit.newton import Rows, Solution, settle
from ptilde.inference.criterion import Criterion, in_words, refuse_undefined, takes_numbers
from ptilde.inference.result import Estimate, Problem
from ptilde.inference.support import loss_for
from ptilde.inference.theta import flatten
from ptilde.tabular.points import points


class _Minibatch(eqx.Module):
    """The mean loss of a batch of rows, for `descend`."""

    criterion: Criterion
    separate: bool = eqx.field(static=True, default=False)

    def num_uniforms(self, rows: PyTree) -> int:
        return 1

    def __call__(self, theta: Array, rows: PyTree, u: Array) -> tuple[Array, Array]:
        keys = jax.vmap(lambda u: jr.fold_in(jr.key(0), jnp.uint32(u * 2**24)))(u[:, 0])
        loss = jnp.mean(jax.vmap(partial(self.criterion, theta))(rows[0], keys))
        return loss, loss[None]


def estimate(
    log_q: Callable[..., Any],
    theta0: PyTree = None,
    data: Any = None,
    *,
    support: Any = None,
    loss: Any = None,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    key: PRNGKeyArray | int | None = None,
    batch_size: int | None = None,
    num_starts: int = 1,
) -> Estimate:
    r"""Estimate θ of an unnormalised density q(x; θ) by score matching.

    Args:
        log_q: (θ, x) ↦ log q(x; θ), one number, up to a constant in x, written with `jax.numpy`; x is one point (d,),
            or a number where the data are (n,). Or a model of `ptilde.models`, which holds its parameters.
        theta0: where to start: any pytree of floating numbers and arrays. None for a model: its own parameters.
        data: (n, d) or (n,), or a pandas, polars or pyarrow table.
        support: what the columns may hold: a kind for each (`Real()`, `Positive()`, `Interval(low, high)`,
            `SemiContinuous(atoms, body)`, `Categorical`, `Count`), one kind for all, a dict by name, or a `Schema`. All
            real if None. Categories that are no numbers are 0, 1, ... in x, in their order. A grid's values are spread
            uniformly over their cells.
        loss: of `ptilde.losses`; if None the one that the support asks for (`ptilde.inference.support`).
        sample_weight: (n,) weights of rows, scaled to mean one: sampling weights, as in survey work. Weight 2 moves the
            estimate as two equal rows do, and says nothing of there being two.
        groups: (n,) labels; rows of one group may depend on each other in any way, and the covariance allows for it.
        key: of the losses that draw, and of the starts; 0 if None. The same key gives the same estimate.
        batch_size: rows a step, to come near the minimum by minibatch Adam instead of BFGS, where n is very large.
        num_starts: from so many points, the first θ0 and the others around it; the lowest loss counts.

    Raises:
        DataError: if a value is missing, outside the support, or too many are equal.
        ValueError: if log q cannot be evaluated, or does not determine θ; the message names the combination that it
            leaves open.

    References:
        Hyvärinen (2005), Estimation of non-normalized statistical models by score matching, JMLR 6.
        Yu, Drton & Shojaie (2022), Generalized score matching for general domains, Information and Inference 11.
    """
    log_q, theta0 = (_call, log_q) if theta0 is None and isinstance(log_q, eqx.Module) else (log_q, theta0)
    if data is None:
        raise ValueError("`data` must be given: estimate(log_q, theta0, data), or estimate(model, None, data).")
    _validate.whole("num_starts", num_starts, 1)
    key = jr.key(0) if key is None else jr.key(key) if isinstance(key, int) else key
    if loss is not None and (isinstance(loss, type) or not hasattr(loss, "needs")):
        raise ValueError(f"`loss` must be one of `ptilde.losses`, such as losses.Hyvarinen(); got {loss!r}.")
    found = points(data, support, ties=getattr(loss, "takes_ties", False))
    loss = loss_for(found) if loss is None else loss
    theta, form, names = flatten(theta0)
    if len(found.x) <= theta.size:
        raise ValueError(f"`data` must have more rows than parameters, {theta.size}; got {len(found.x)}.")
    weight = _weights(sample_weight, len(found.x))
    with jax.enable_x64(True):
        criterion = Criterion(log_q, jax.tree.map(_double, loss), form, takes_numbers(log_q, form.tree(theta), found))
        rows = Rows.of(found.x, weight, theta.size)
        problem = Problem(criterion, rows, key, weight, names, found, _labels(groups, len(found.x)))
        refuse_undefined(criterion, theta, rows, key, found.x)
        solution = _minimise(problem, theta, batch_size, num_starts)
        if not solution.converged:
            warnings.warn(
                f"The minimum of the loss was not reached ({solution.route}): the estimate and its standard errors are "
                "not to be trusted. Start closer (`theta0`), or from more points (`num_starts`).",
                ConvergenceWarning,
                stacklevel=2,
            )
        return Estimate.at(problem, solution)


def _call(model: Any, x: Array) -> Array:
    return model(x)


def _double(leaf: Any) -> Any:
    return jnp.asarray(leaf, jnp.float64) if eqx.is_inexact_array(leaf) else leaf


def _weights(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64]:
    if sample_weight is None:
        return np.ones(n)
    weight = np.asarray(sample_weight, np.float64)
    if weight.shape != (n,):
        raise ValueError(f"`sample_weight` must have a weight for each of the {n} rows; got shape {weight.shape}.")
    wrong = ~(np.isfinite(weight) & (weight >= 0))
    if wrong.any() or not weight.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"`sample_weight` must be finite, at least 0, and not all 0; got {weight[row]} in row {row}. Correct it."
        )
    return weight / weight.mean()


def _labels(groups: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"`groups` must have a label for each of the {n} rows; got shape {labels.shape}.")
    codes = np.unique(labels, return_inverse=True)[1]
    if codes.max() == 0:
        raise ValueError("`groups` must name at least two groups; got one. Leave it out.")
    return codes


def _minimise(problem: Problem, theta: NDArray[np.float64], batch_size: int | None, num_starts: int) -> Solution:
    generator = np.random.default_rng(np.asarray(jr.key_data(problem.key)))
    starts = [theta] + [
        theta + (0.5 + 0.5 * np.abs(theta)) * generator.normal(size=theta.size) for _ in range(num_starts - 1)
    ]
    found, refused = [], None
    for start in starts:
        try:
            if batch_size is not None:
                near = _stochastic(problem, start, batch_size)
                solution = settle(problem.criterion, near, problem.rows, problem.key, "minibatch Adam, then ")
            else:
                solution = solve(problem.criterion, start, problem.rows, problem.key)
        except (Unidentified, NoMinimum) as error:
            refused = refused or error
            continue
        found.append(solution)
        if solution.route == "one linear solve":
            break
    if found:
        best = min(found, key=lambda s: (not s.converged, float(s.sums.loss)))
        return best if len(starts) == 1 else best._replace(route=f"{best.route}, the best of {len(found)} starts")
    raise in_words(refused, problem.names) from refused


def _stochastic(problem: Problem, theta: NDArray[np.float64], batch_size: int) -> NDArray[np.float64]:
    """Near the minimum, by steps of Adam on batches."""
    _validate.whole("batch_size", batch_size, 1)
    size = np.maximum(np.abs(theta), 1.0)
    steps = max(2000, 2 * len(problem.data.x) // batch_size)
    plan = Descent(
        batch_size=min(batch_size, len(problem.data.x)), num_steps=steps, step_size=0.02 * size.min(), weight_decay=0.0
    )
    data = Data.of((problem.data.x,), problem.weight)
    trajectory = descend(_Minibatch(problem.criterion), jnp.asarray(theta), data, None, plan, problem.key)
    return np.asarray(trajectory.model, np.float64)
