r"""The minimiser of a mean loss with few parameters, and the sums that its standard errors are made of.

$\hat\theta$ minimises $L(\theta) = \sum_i w_i\,\ell(\theta; x_i)$. Where L is quadratic, as with log q affine in θ, one
Newton step from anywhere is the answer:

$$\hat\theta = \theta_0 - \Bigl(\sum_i w_i \nabla^2\ell_i\Bigr)^{-1} \sum_i w_i \nabla\ell_i .$$

Otherwise Newton steps go on from where the loss is convex, and if they do not arrive BFGS comes near first. Sums over
rows run in chunks, so that the memory beside the data does not grow with them. Row i has the key `fold_in(key, i)` at
every step: the loss is one function of θ.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy.typing import NDArray

from ptilde.batches import bucket

Criterion = Callable[[Array, Array, PRNGKeyArray], Array]
"""(θ, x, key) ↦ the loss at one point; θ is flat."""

_CELLS = 2**20  # numbers in a chunk's table of derivatives
_SINGULAR = 1e-11  # of the largest eigenvalue, diagonal one: below it is rounding
_SAME = 1e-8  # two Hessians of a quadratic differ by rounding alone
_SMALL = 1e-6  # a Newton step, in standard deviations of θ's estimate from one row, or so; the error left is its square
MAX_NEWTON = 50


class Unidentified(ValueError):
    """The loss does not change along a direction of θ."""

    def __init__(self, direction: NDArray[np.floating]) -> None:
        super().__init__("the loss does not change along a direction of theta")
        self.direction = direction


class NoMinimum(ValueError):
    """No minimum was found: the loss, or its derivatives, stop being finite on the way."""


class Rows(NamedTuple):
    """Weighted rows in chunks of one size; the last ones are padding, of weight 0.

    Attributes:
        x: (chunk, row, column).
        weight: (chunk, row).
        number: (chunk, row), which row of the data this is.
    """

    x: Float[Array, "c b d"]
    weight: Float[Array, "c b"]
    number: Int[Array, "c b"]

    @classmethod
    def of(cls, x: NDArray[np.floating], weight: NDArray[np.floating], num_parameters: int) -> "Rows":
        """Rows (n, d) with weights (n,), in chunks for sums over derivatives in so many parameters."""
        n = len(x)
        size = min(bucket(n), max(64, _CELLS // (x.shape[1] * num_parameters) // 64 * 64))
        num_chunks = -(-n // size)
        num_chunks = num_chunks if num_chunks < 16 else bucket(num_chunks)  # few sizes are compiled
        padding = num_chunks * size - n
        shaped = lambda a: jnp.asarray(a.reshape(num_chunks, size, *a.shape[1:]))  # noqa: E731
        rows = np.concatenate([x, np.broadcast_to(x[:1], (padding, x.shape[1]))])
        return cls(shaped(rows), shaped(np.pad(weight, (0, padding))), shaped(np.arange(n + padding)))

    def weighted(self, weight: NDArray[np.floating]) -> "Rows":
        """The same rows with other weights (n,)."""
        padded = np.pad(weight, (0, self.weight.size - len(weight)))
        return self._replace(weight=jnp.asarray(padded.reshape(self.weight.shape)))


class Sums(NamedTuple):
    """The loss over all rows, the same of absolute values, and the loss's derivatives in θ."""

    loss: Float[Array, ""]
    size: Float[Array, ""]
    gradient: Float[Array, " p"]
    hessian: Float[Array, "p p"]


class Solution(NamedTuple):
    """A minimiser, the sums there, whether it is one, and how it was found, in words."""

    theta: NDArray[np.float64]
    sums: Sums
    converged: bool
    route: str


def _weighted(criterion: Criterion, theta: Array, chunk: Rows, key: PRNGKeyArray) -> Array:
    each = jax.vmap(lambda x, i: criterion(theta, x, jr.fold_in(key, i)))(chunk.x, chunk.number)
    return jnp.where(chunk.weight > 0, chunk.weight * each, 0.0)


def _total(criterion: Criterion, theta: Array, chunk: Rows, key: PRNGKeyArray) -> Array:
    return jnp.sum(_weighted(criterion, theta, chunk, key))


@eqx.filter_jit
def losses(criterion: Criterion, theta: Array, rows: Rows, key: PRNGKeyArray) -> Array:
    """The loss of every row, (chunk, row), or what else a criterion gives at a point."""
    at = lambda x, i: criterion(theta, x, jr.fold_in(key, i))  # noqa: E731
    return jax.lax.map(lambda chunk: jax.vmap(at)(chunk.x, chunk.number), rows)


@eqx.filter_jit
def sums(criterion: Criterion, theta: Array, rows: Rows, key: PRNGKeyArray) -> Sums:
    """The loss over all rows and its first two derivatives in θ."""

    def add(total: Sums, chunk: Rows) -> tuple[Sums, None]:
        loss = lambda t: _total(criterion, t, chunk, key)  # noqa: E731
        each = _weighted(criterion, theta, chunk, key)
        new = Sums(jnp.sum(each), jnp.sum(jnp.abs(each)), jax.grad(loss)(theta), jax.hessian(loss)(theta))
        return jax.tree.map(jnp.add, total, new), None

    p, dtype = theta.size, theta.dtype
    return jax.lax.scan(add, Sums(*(jnp.zeros(shape, dtype) for shape in ((), (), p, (p, p)))), rows)[0]


@eqx.filter_jit
def gradients(
    criterion: Criterion, theta: Array, rows: Rows, key: PRNGKeyArray, group: Int[Array, "c b"] | None, num_groups: int
) -> tuple[Array, Array]:
    r"""$\sum_i w_i^2 \nabla\ell_i \nabla\ell_i^\top$, and $\sum_{i \in g} w_i\nabla\ell_i$ of each group, (g, p)."""
    slope = jax.grad(criterion)

    def add(total: tuple[Array, Array], part: tuple[Rows, Array | None]) -> tuple[tuple[Array, Array], None]:
        chunk, group = part
        each = jax.vmap(lambda x, i: slope(theta, x, jr.fold_in(key, i)))(chunk.x, chunk.number)
        each = jnp.where(chunk.weight[:, None] > 0, chunk.weight[:, None] * each, 0.0)
        outer, by_group = total
        by_group = by_group if group is None else by_group.at[group].add(each)
        return (outer + each.T @ each, by_group), None

    p, dtype = theta.size, theta.dtype
    zero = jnp.zeros((p, p), dtype), jnp.zeros((num_groups, p), dtype)
    return jax.lax.scan(add, zero, (rows, group))[0]


@eqx.filter_jit
def _bfgs(criterion: Criterion, theta: Array, scale: Array, rows: Rows, key: PRNGKeyArray, max_steps: int) -> Array:
    """BFGS on the mean loss from θ, in units of `scale`."""
    weight = jnp.sum(rows.weight)
    part = jax.checkpoint(lambda t, chunk: _total(criterion, t, chunk, key))  # else every chunk's work is kept

    def mean(u: Array, _: Any) -> Array:
        add = lambda total, chunk: (total + part(u * scale, chunk), None)  # noqa: E731
        return jax.lax.scan(add, jnp.zeros((), u.dtype), rows)[0] / weight

    solver = optx.BFGS(rtol=1e-9, atol=1e-9)
    return scale * optx.minimise(mean, solver, theta / scale, max_steps=max_steps, throw=False).value


def solve(
    criterion: Criterion, theta: NDArray[np.floating], rows: Rows, key: PRNGKeyArray, *, max_steps: int = 2000
) -> Solution:
    """Minimise the loss over the rows.

    Args:
        criterion: the loss at one point.
        theta: where to start, (p,).
        rows: the data.
        key: of the losses that draw.
        max_steps: of BFGS.

    Raises:
        Unidentified: if the loss does not change along a direction of θ.
        NoMinimum: if the search runs off to where the loss is not finite.
    """
    theta = np.asarray(theta, np.float64)
    here = _finite(sums(criterion, jnp.asarray(theta), rows, key))
    other, flat = _probe(theta, here)
    there = sums(criterion, jnp.asarray(other), rows, key)
    if _quadratic(here, there):
        if flat is not None:
            raise Unidentified(flat)
        if np.linalg.eigvalsh(here.hessian)[0] < 0:
            raise NoMinimum("the loss falls without end")
        last = other + _newton(there)[0]  # the first step's rounding, taken away
        return Solution(last, sums(criterion, jnp.asarray(last), rows, key), True, "one linear solve")
    values = np.linalg.eigvalsh(here.hessian)
    if values[0] >= -_SINGULAR * values[-1]:  # convex here, so perhaps all the way
        try:
            found = settle(criterion, theta, rows, key, "")
        except Unidentified:  # perhaps only where the search went: jumps that are certain tell nothing
            found = None
        if found is not None and found.converged:
            return found
    size = np.sqrt(np.abs(np.diag(here.hessian)) / float(jnp.sum(rows.weight)))
    scale = 1 / np.where(size > 0, size, 1.0)
    near = np.asarray(_bfgs(criterion, jnp.asarray(theta), jnp.asarray(scale), rows, key, max_steps))
    return settle(criterion, near, rows, key, "BFGS, then ")


def settle(criterion: Criterion, theta: NDArray[np.floating], rows: Rows, key: PRNGKeyArray, route: str) -> Solution:
    """Newton steps from near the minimum, each halved until the loss falls, but for the last, which is small."""
    here = _finite(sums(criterion, jnp.asarray(theta), rows, key))
    taken = 0
    while (step := _newton(here))[1] > _SMALL and taken < MAX_NEWTON:
        for halvings in range(20):
            there = sums(criterion, jnp.asarray(theta + step[0] / 2**halvings), rows, key)
            if float(there.loss) < float(here.loss):
                break
        else:
            break  # no way down
        theta, here, taken = theta + step[0] / 2**halvings, there, taken + 1
    flat = null_direction(here.hessian)
    if flat is not None:
        raise Unidentified(flat)
    converged = step[1] <= _SMALL and bool(np.linalg.eigvalsh(here.hessian)[0] > 0)
    last = theta + step[0] if converged else theta
    return Solution(np.asarray(last, np.float64), here, converged, f"{route}{taken + converged} Newton steps")


def null_direction(hessian: Array) -> NDArray[np.float64] | None:
    """A direction along which a loss with this Hessian is flat, its largest entry 1; None if there is none."""
    matrix = np.asarray(hessian)
    diagonal = np.abs(np.diag(matrix))
    idle = diagonal <= 1e-300
    if idle.any():
        return np.eye(len(matrix))[int(np.argmax(idle))]
    size = np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(matrix / np.outer(size, size))
    least = int(np.argmin(np.abs(values)))
    if abs(values[least]) > _SINGULAR * np.abs(values).max():
        return None
    direction = vectors[:, least] / size
    return direction / direction[np.argmax(np.abs(direction))]


def _probe(theta: NDArray[np.float64], here: Sums) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Another θ at which to see whether the Hessian is the same: the Newton step's; and a flat direction if any."""
    flat = null_direction(here.hessian)
    if flat is None:
        return theta + np.linalg.solve(here.hessian, -here.gradient), None
    return theta + 0.1 * (1 + np.abs(theta)) * np.cos(np.arange(theta.size)), flat


def _quadratic(here: Sums, there: Sums) -> bool:
    size = np.sqrt(np.abs(np.diag(here.hessian)))
    unit = np.outer(size, size)
    away = np.abs(np.asarray(there.hessian) - np.asarray(here.hessian))
    return bool((away <= _SAME * np.where(unit > 0, unit, 1.0)).all())  # false of NaN


def _newton(here: Sums) -> tuple[NDArray[np.float64], float]:
    """The Newton step, downhill where the Hessian is not positive; and its size, free of units.

    Directions without curvature wait until they have some: jumps that are all but certain have none.
    """
    hessian, gradient = np.asarray(here.hessian), np.asarray(here.gradient)
    size = np.sqrt(np.abs(np.diag(hessian)))
    size = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(hessian / np.outer(size, size))
    curved = np.abs(values) > _SINGULAR * np.abs(values).max()
    step = -vectors[:, curved] @ (vectors[:, curved].T @ (gradient / size) / np.abs(values[curved]))
    return step / size, float(np.max(np.abs(step)) / np.sqrt(float(here.size) + 1e-300))


def _finite(here: Sums) -> Sums:
    if not all(np.isfinite(part).all() for part in here):
        raise NoMinimum("the loss or its derivatives are not finite")
    return here
