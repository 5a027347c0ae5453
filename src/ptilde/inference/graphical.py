r"""Sparse graphs of pairwise models: ℓ1-penalised score matching, a path from the empty graph to a dense one.

For $\log q(x) = -\tfrac12 x^\top K x + \eta^\top x$, on all of $R^p$ or on $x > 0$, the generalised score matching loss

$$\operatorname{mean} \sum_j \tfrac12 h_j s_j^2 + h_j \partial_j s_j + h_j' s_j, \qquad s = \eta - Kx,$$

is quadratic. With the columns in units of their standard deviations, and η at its best value for each K, it is

$$J(K) = \tfrac12 \sum_j k_j^\top \Gamma_j k_j - \langle C, K \rangle,$$

$k_j$ the columns of K, and the path minimises $J(K) + \lambda \sum_{j \ne k} |K_{jk}|$ over symmetric K. On $R^p$,
$h = 1$: every $\Gamma_j$ is the correlation matrix S, $C = I$, and $J = \tfrac12 \mathrm{tr} KSK - \mathrm{tr} K$.
On $x > 0$, $h_j = \min\{\log(1 + x_j), 2\}$, which is 0 at the edge.

With $G$ the symmetrised gradient of J, K is a minimiser if and only if $G_{jj} = 0$,
$G_{jk} = -\lambda \operatorname{sign} K_{jk}$ on the edges and $|G_{jk}| \le \lambda$ elsewhere.

The graph is chosen by an extended BIC of the estimate without penalty on the edges E of each graph, $\hat K_E$,

$$2nJ(\hat K_E) + \sum_{e \in E} c_e\,(\log n + 2 \log p), \qquad c_e = \operatorname{mean} g_e^2 / H_{ee},$$

with $g_e$ the first derivative of a row's loss and $H_{ee}$ the second of J in $K_{jk} = K_{kj}$. A likelihood has
$c_e = 1$; here an absent edge lowers $2nJ$ by about $c_e \chi^2_1$, on $R^p$ $c_e = 1 + (K_{jj} + K_{kk})/2 \ge 2$.
With 1 instead, BIC finds ten times the edges that a chain of 200 columns has.

References:
    Lin, Drton & Shojaie (2016), Estimation of high-dimensional graphical models using regularized score matching.
    Yu, Drton & Shojaie (2019), Generalized score matching for non-negative data.
    Foygel & Drton (2010), Extended Bayesian information criteria for Gaussian graphical models (γ = ½).
    Matsuda, Uehara & Hyvärinen (2021), Information criteria for non-normalized models; $c_e$: $JH^{-1}$ of one edge.
    O'Donoghue & Candès (2015), Adaptive restart for accelerated gradient schemes, Section 3.2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ptilde._validate import DataError
from ptilde.tabular.points import points

__all__ = ["Edge", "GraphicalPath", "graphical_path"]

_PATH = np.geomspace(1, 0.02, 30)  # times the least λ that leaves no edge
_TOLERANCE = 1e-6  # by which the conditions above may be violated; the entries of C are about 1
_MOST_STEPS, _MOST_CONJUGATE = 10_000, 1_000
_LARGEST = 1e6  # K beyond which the loss has no minimum: its diagonal is the inflation of a column's variance
_FLAT = 1e-12  # curvature, of a largest one above 1
_EQUAL = 1e-2  # difference of two criteria that is no evidence
_CAP = 2.0  # of h

Matrix = Float[np.ndarray, "p p"]
Rows = Float[np.ndarray, "n p"]
Vector = Float[np.ndarray, " n"]


class Edge(NamedTuple):
    """Two columns that are dependent given all others, and their partial correlation."""

    first: str
    second: str
    partial_correlation: float


@dataclass(frozen=True)
class GraphicalPath:
    """The path of graphs.

    Attributes:
        names: of the columns.
        penalties: (m,) λ, decreasing.
        precisions: (m, p, p) K at each λ, in the units of the data.
        criterion: (m,) the extended BIC; inf where the graph has no estimate without penalty.
        violations: (m,) the largest violation of the conditions for a minimum.
        best: where the criterion is least; of equal ones, that of the least penalty.
        refitted: (p, p) the estimate without penalty on the edges of the best graph, in the units of the data.
    """

    names: tuple[str, ...]
    penalties: Float[np.ndarray, " m"]
    precisions: Float[np.ndarray, "m p p"]
    criterion: Float[np.ndarray, " m"]
    violations: Float[np.ndarray, " m"]
    best: int
    refitted: Matrix

    @property
    def precision(self) -> Matrix:
        """The penalised estimate K of the best graph; not necessarily positive definite."""
        return self.precisions[self.best]

    def edges(self) -> list[Edge]:
        """The edges of the best graph, the strongest partial correlation of `refitted` first.

        It is nan where a diagonal entry is not positive, as it may be where the data do not follow the model.
        """
        scale = np.sqrt(np.where(np.diag(self.refitted) > 0, np.diag(self.refitted), np.nan))
        first, second = np.nonzero(np.triu(self.precision, 1))
        partial = (-self.refitted / np.outer(scale, scale))[first, second]
        order = np.argsort(-np.abs(partial))
        return [Edge(self.names[first[i]], self.names[second[i]], float(partial[i])) for i in order]

    def __str__(self) -> str:
        edges, num_columns = self.edges(), len(self.names)
        head = f"{num_columns} columns: {len(edges)} of {num_columns * (num_columns - 1) // 2} pairs are dependent"
        where = f"penalty {self.penalties[self.best]:.3g}, {self.best + 1} of {len(self.penalties)}, by extended BIC"
        last = self.best == len(self.penalties) - 1 > 0
        lines = [f"{head} given all others ({where}{', and smaller ones may do better' if last else ''})."]
        lines += [f"  {first} - {second}: partial correlation {value:+.3f}" for first, second, value in edges[:10]]
        return "\n".join([*lines, f"  and {len(edges) - 10} more"] if len(edges) > 10 else lines)


def graphical_path(
    data: Any, *, truncated: bool = False, penalties: ArrayLike | None = None, sample_weight: ArrayLike | None = None
) -> GraphicalPath:
    """Estimate which pairs of columns are dependent given all others.

    Args:
        data: rows: pandas, polars, pyarrow, or a 2-D array, whose columns are then named x0, x1, ...
        truncated: whether the columns live on x > 0 instead of the whole line.
        penalties: λ, for columns in units of their standard deviations; if None, thirty from the least that leaves no
            edge down to a fiftieth of it, or to where the loss has no minimum: with few rows, it needs a penalty.
        sample_weight: (n,) of the rows; the criterion counts them as (Σw)² / Σw² rows.
    """
    names, x = _checked(data, truncated)
    weight = _shares(sample_weight, len(x))
    scale = _scale(names, x, weight)
    loss = (_truncated if truncated else _gaussian)(x / scale, weight)
    start = np.diag(np.diag(loss.linear) / np.diag(loss.squares))
    if penalties is None:
        lambdas = np.max(np.abs(np.triu(loss.gradient(start), 1))) * _PATH
    else:
        lambdas = _decreasing(penalties)
    precisions, violations = _path(loss, start, lambdas, stop=penalties is None)
    refits = [loss.restricted(precision) for precision in precisions]
    criterion = np.array([loss.criterion(refit) for refit in refits])
    best = int(np.flatnonzero(criterion <= np.min(criterion) + _EQUAL)[-1])
    lambdas, units = lambdas[: len(precisions)], np.outer(scale, scale)
    return GraphicalPath(names, lambdas, precisions / units, criterion, violations, best, refits[best] / units)


class _Loss(NamedTuple):
    """J, and the rows that it comes from."""

    product: Callable[[Matrix], Matrix]  # K ↦ the matrix of the columns Γ_j k_j
    linear: Matrix  # C, symmetrised
    squares: Matrix  # entry (k, j) is Γ_j's at (k, k)
    curvature: float  # a bound of J's
    x: Rows  # scaled and centred
    h: Rows  # of each entry; 1 on the whole line
    slope: Rows  # h' of each entry
    weight: Vector  # of the rows, of sum 1

    def gradient(self, precision: Matrix) -> Matrix:
        """G, symmetric."""
        product = self.product(precision)
        return 0.5 * (product + product.T) - self.linear

    def restricted(self, precision: Matrix) -> Matrix:
        """The minimiser of J over the matrices that are zero where `precision` is, by conjugate gradients."""
        support = precision != 0
        residual = support * -self.gradient(precision)
        direction, size = residual, np.vdot(residual, residual)
        for _ in range(_MOST_CONJUGATE):
            if np.max(np.abs(residual)) < _TOLERANCE:
                break
            image = support * (self.gradient(direction) + self.linear)
            bend = np.vdot(direction, image)
            if bend <= _FLAT * np.vdot(direction, direction):
                break
            precision, residual = precision + size / bend * direction, residual - size / bend * image
            size, last = np.vdot(residual, residual), size
            direction = residual + size / last * direction
        return precision

    def criterion(self, refit: Matrix) -> float:
        """The extended BIC of the edges of `refit`, the estimate without penalty on them."""
        gradient, edges = self.gradient(refit), np.triu(refit != 0, 1)
        if np.max(np.abs((refit != 0) * gradient)) > 10 * _TOLERANCE:  # J has no minimum on this graph
            return np.inf
        value = 0.5 * np.vdot(refit, gradient - self.linear)
        pull = self.h * (self.x @ refit) - self.slope
        pull -= self.h * (self.weight @ pull) / (self.weight @ self.h)  # η; g_e is now x_j pull_k + x_k pull_j
        squares = (self.weight[:, None] * self.x**2).T @ pull**2
        both = self.x * pull
        spread = squares + squares.T + 2 * (self.weight[:, None] * both).T @ both
        num_rows, num_columns = 1 / np.sum(self.weight**2), len(refit)
        excess = np.sum((spread / (self.squares + self.squares.T))[edges])
        return float(2 * num_rows * value + excess * (np.log(num_rows) + 2 * np.log(num_columns)))


def _gaussian(x: Rows, weight: Vector) -> _Loss:
    x = x - weight @ x
    second = (weight[:, None] * x).T @ x
    squares = np.repeat(np.diag(second)[:, None], len(second), axis=1)
    curvature = float(np.linalg.eigvalsh(second)[-1])
    flat = np.ones_like(x)
    return _Loss(lambda k: second @ k, np.eye(len(second)), squares, curvature, x, flat, 0 * flat, weight)


def _truncated(x: Rows, weight: Vector) -> _Loss:
    h = np.minimum(np.log1p(x), _CAP)
    slope = np.where(h < _CAP, 1 / (1 + x), 0.0)
    x = x - weight @ x
    level = weight @ h
    centre = x.T @ (weight[:, None] * h) / level  # column j: the mean of x with weights h_j
    second = np.stack([(x * (weight * h[:, j])[:, None]).T @ x for j in range(x.shape[1])])
    second -= level[:, None, None] * centre.T[:, :, None] * centre.T[:, None, :]  # what the best η leaves of Γ_j
    linear = np.diag(level) + x.T @ (weight[:, None] * slope) - centre * (weight @ slope)
    curvature = float(np.max(np.linalg.eigvalsh(second)[:, -1]))
    product = lambda k: np.matmul(second, k.T[:, :, None])[:, :, 0].T  # noqa: E731
    squares = np.diagonal(second, axis1=1, axis2=2).T
    return _Loss(product, 0.5 * (linear + linear.T), squares, curvature, x, h, slope, weight)


def _path(loss: _Loss, start: Matrix, lambdas: Vector, stop: bool) -> tuple[Float[np.ndarray, "m p p"], Vector]:
    """The minimiser at each λ, from that of the λ before, and the violations; to where it ends if it may stop."""
    precisions, violations = [], []
    for penalty in lambdas:
        start, violation = _minimiser(loss, start, penalty)
        if violation > _TOLERANCE:
            if stop and precisions:
                break
            raise ValueError(
                f"`penalties` must be large enough for the loss to have a minimum; at {penalty:.3g} the descent came "
                f"only within {violation:.1g} of one. Leave out penalties this small, or columns that others determine."
            )
        precisions.append(start)
        violations.append(violation)
    return np.stack(precisions), np.array(violations)


def _minimiser(loss: _Loss, precision: Matrix, penalty: float) -> tuple[Matrix, float]:
    """Accelerated proximal gradient with restarts: K at λ, and how far it violates the conditions for a minimum."""
    threshold, step = penalty * (1 - np.eye(len(precision))), 1 / loss.curvature
    gradient, momentum = loss.gradient(precision), 1.0
    ahead, slope = precision, gradient
    for _ in range(_MOST_STEPS):
        last, last_gradient = precision, gradient
        target = ahead - step * slope
        precision = target - np.minimum(np.maximum(target, -step * threshold), step * threshold)
        gradient = loss.gradient(precision)
        if np.max(np.abs(precision - ahead)) < step * _TOLERANCE:
            violation = _violation(precision, gradient, threshold)
            if violation <= _TOLERANCE:
                return precision, violation
        if np.max(precision) > _LARGEST:
            break
        move = precision - last
        if np.vdot(ahead - precision, move) > 0:
            momentum = 1.0
        momentum, before = 0.5 * (1 + np.sqrt(1 + 4 * momentum**2)), momentum
        share = (before - 1) / momentum
        ahead, slope = precision + share * move, gradient + share * (gradient - last_gradient)
    return precision, _violation(precision, gradient, threshold)


def _violation(precision: Matrix, gradient: Matrix, threshold: Matrix) -> float:
    there, absent = np.abs(gradient + threshold * np.sign(precision)), np.abs(gradient) - threshold
    return max(0.0, float(np.max(np.where(precision != 0, there, absent))))


def _checked(data: Any, truncated: bool) -> tuple[tuple[str, ...], Rows]:
    found = points(data, ties=True)
    if min(found.x.shape) < 2:
        raise DataError(f"`data` must have two rows and two columns or more; got {found.x.shape}.")
    wrong = np.argwhere(found.x <= 0)
    if truncated and len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"Column {found.names[column]!r} must be positive where `truncated`; got {found.x[row, column]:g} in row "
            f"{row}. Correct the value, leave the column out, or, if it may be negative, leave `truncated` out."
        )
    return found.names, found.x


def _scale(names: tuple[str, ...], x: Rows, weight: Vector) -> Vector:
    std = np.sqrt(weight @ (x - weight @ x) ** 2)
    for name, column, size in zip(names, x.T, std, strict=True):
        if size <= 1e-12 * np.max(np.abs(column)):
            raise DataError(f"Column {name!r} must vary; got {column[0]:g} in every row that counts. Leave it out.")
    return std


def _shares(sample_weight: ArrayLike | None, num_rows: int) -> Vector:
    weight = np.ones(num_rows) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (num_rows,) or not np.all(np.isfinite(weight) & (weight >= 0)) or not weight.any():
        rule = f"{num_rows} finite numbers of 0 or more, not all of them 0"
        raise ValueError(f"`sample_weight` must be {rule}; got {sample_weight!r}.")
    return weight / weight.sum()


def _decreasing(penalties: ArrayLike) -> Vector:
    given = np.asarray(penalties, dtype=np.float64)
    if given.ndim != 1 or not len(given) or not np.all(np.isfinite(given) & (given >= 0)):
        raise ValueError(f"`penalties` must be a list of finite numbers of 0 or more; got {penalties!r}.")
    return np.sort(given)[::-1]
