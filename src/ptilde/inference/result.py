r"""What an estimate is asked: its uncertainty, tests of restrictions, its criterion, a table to print.

With $A = \sum_i w_i\nabla^2\ell_i$ and $B = \sum_i w_i^2\nabla\ell_i\nabla\ell_i^\top$ at $\hat\theta$ (of groups: the
sum of each group's gradients squared, times $G/(G-1)$),

$$\operatorname{cov}\hat\theta = A^{-1} B A^{-1}, \qquad \mathrm{SMIC} = \sum_i w_i \ell_i + \operatorname{tr}(B
A^{-1}).$$

Huber (1967), The behavior of maximum likelihood estimates under nonstandard conditions, Section 3 (the sandwich). Liang
& Zeger (1986), Longitudinal data analysis using generalized linear models (groups). Matsuda, Uehara & Hyvärinen (2021),
Information criteria for non-normalized models, JMLR 22 (SMIC).
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree
from numpy.typing import NDArray
from scipy.stats import norm

from ptilde import _validate
from ptilde.fit.newton import Rows, Solution, gradients, settle, solve
from ptilde.inference.hypotheses import Restricted, Test, score_difference, wald
from ptilde.inference.summary import Summary
from ptilde.tabular.points import Points

Floats = NDArray[np.floating]


class Problem(NamedTuple):
    """All that an estimate was made from."""

    criterion: Any
    rows: Rows
    key: PRNGKeyArray
    weight: Floats
    names: tuple[str, ...]
    data: Points
    group: NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Estimates from resampled rows (or groups), (num, p)."""

    draws: Floats
    _form: Any

    @property
    def covariance(self) -> Floats:
        """Of the estimates, (p, p)."""
        return np.atleast_2d(np.cov(self.draws.T))

    @property
    def standard_errors(self) -> PyTree:
        """Standard deviations of the estimates, in the shape of θ."""
        return self._form.tree(self.draws.std(0, ddof=1))

    def confidence_intervals(self, level: float = 0.95) -> PyTree:
        """The middle share of the estimates: the shape of θ, with a last axis of (low, high)."""
        return self._form.tree(np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2], axis=0).T)


@dataclass(frozen=True, eq=False)
class Estimate:
    """Parameters that minimise a score-matching loss, with their uncertainty.

    Attributes:
        theta: the estimate, in the shape of `theta0`, with NumPy arrays.
        covariance: of the p flat parameters, in the order of `names`, (p, p).
        names: of the flat parameters.
        loss: the mean loss at the estimate.
        converged: whether the minimum was reached.
        route: how it was found, in words.
    """

    theta: PyTree
    covariance: Floats
    names: tuple[str, ...]
    loss: float
    converged: bool
    route: str
    _flat: Floats
    _hessian: Floats
    _outer: Floats
    _problem: Problem

    @classmethod
    def at(cls, problem: Problem, solution: Solution) -> "Estimate":
        """The estimate at a solution of its problem."""
        hessian, outer = np.asarray(solution.sums.hessian), _outer(problem, solution.theta)
        bread = np.linalg.pinv(hessian, hermitian=True)
        loss = float(solution.sums.loss) / problem.weight.sum()
        theta = problem.criterion.form.tree(solution.theta)
        covariance = bread @ outer @ bread
        return cls(
            theta,
            covariance,
            problem.names,
            loss,
            solution.converged,
            solution.route,
            solution.theta,
            hessian,
            outer,
            problem,
        )

    @property
    def num_rows(self) -> int:
        """Rows of the data."""
        return len(self._problem.weight)

    @property
    def standard_errors(self) -> PyTree:
        """Of each parameter, in the shape of θ."""
        return self._tree(np.sqrt(np.diag(self.covariance)))

    def confidence_intervals(self, level: float = 0.95) -> PyTree:
        """Wald intervals: the shape of θ, with a last axis of (low, high)."""
        _share("level", level)
        reach = norm.ppf((1 + level) / 2) * np.sqrt(np.diag(self.covariance))
        return self._tree(np.stack([self._flat - reach, self._flat + reach], axis=1))

    @property
    def information_criterion(self) -> float:
        """SMIC, the sum of losses plus tr(B A⁻¹): the lower, the better a model fits new rows, under the same loss."""
        return self.loss * self._problem.weight.sum() + float(np.trace(np.linalg.solve(self._hessian, self._outer)))

    def delta_method(self, function: Callable[[PyTree], Any]) -> tuple[Any, Any]:
        """A function of θ, and its standard errors: any pytree of numbers, written with `jax.numpy`."""
        with jax.enable_x64(True):
            at = lambda flat: function(self._problem.criterion.form.tree(flat))  # noqa: E731
            value, slope = at(jnp.asarray(self._flat)), jax.jacfwd(at)(jnp.asarray(self._flat))
            error = jax.tree.map(lambda s: np.sqrt(np.einsum("...i,ij,...j", s, self.covariance, s)), slope)
            return jax.tree.map(np.asarray, value), error

    def wald_test(self, hypothesis: Mapping[str, float] | Callable[[PyTree], Any]) -> Test:
        """Test that parameters have given values, {name: value}, or that a function of θ is 0 (χ², by the sandwich).

        A name is one of `names`, or that of a whole array.
        """
        if callable(hypothesis):
            restriction = lambda flat: jnp.ravel(hypothesis(self._problem.criterion.form.tree(flat)))  # noqa: E731
        else:
            index, values = self._restrictions(hypothesis)
            restriction = lambda flat: flat[index] - values  # noqa: E731
        with jax.enable_x64(True):
            flat = jnp.asarray(self._flat)
            return wald(np.asarray(restriction(flat)), np.asarray(jax.jacfwd(restriction)(flat)), self.covariance)

    def score_difference_test(self, hypothesis: Mapping[str, float]) -> Test:
        """Test that parameters have given values, {name: value}, by how much the loss rises when they are held."""
        index, values = self._restrictions(hypothesis)
        if len(index) == len(self._flat):
            raise ValueError("`hypothesis` must leave a parameter free; got a value for each. Use `wald_test`.")
        base = self._flat.copy()
        base[index] = values
        free = np.setdiff1d(np.arange(len(base)), index)
        with jax.enable_x64(True):
            restricted = Restricted(self._problem.criterion, jnp.asarray(base), jnp.asarray(free))
            found = solve(restricted, base[free], self._problem.rows, self._problem.key)
        rise = float(found.sums.loss) - self.loss * self._problem.weight.sum()
        return score_difference(
            rise, np.linalg.inv(self._hessian)[np.ix_(index, index)], self.covariance[np.ix_(index, index)]
        )

    def bootstrap(self, num: int = 200, seed: int = 0) -> Bootstrap:
        """Estimates from rows (or groups) drawn with replacement: a check on the standard errors without a formula."""
        _validate.whole("num", num, 2)
        problem, generator, draws = self._problem, np.random.default_rng(seed), []
        unit = np.arange(self.num_rows) if problem.group is None else problem.group
        with jax.enable_x64(True):
            for _ in range(num):
                count = generator.multinomial(unit.max() + 1, np.full(unit.max() + 1, 1 / (unit.max() + 1)))[unit]
                rows = problem.rows.weighted(problem.weight * count)
                draws.append(settle(problem.criterion, self._flat, rows, problem.key, "").theta)
        return Bootstrap(np.array(draws), problem.criterion.form)

    def summary(self, level: float = 0.95) -> Summary:
        """A table to print: estimates, standard errors, z, p and intervals."""
        _share("level", level)
        intervals = self._flat[:, None] + norm.ppf((1 + level) / 2) * np.sqrt(np.diag(self.covariance))[:, None] * [
            -1,
            1,
        ]
        groups = None if self._problem.group is None else int(self._problem.group.max()) + 1
        facts = {
            "loss": _loss_name(self._problem.criterion.loss),
            "rows": f"{self.num_rows:,}" + (f" in {groups:,} groups" if groups else ""),
            "mean loss": f"{self.loss:.6g}",
            "criterion (SMIC)": f"{self.information_criterion:.6g}",
            "found by": self.route + ("" if self.converged else "; NOT CONVERGED"),
        }
        return Summary(facts, self.names, self._flat, np.sqrt(np.diag(self.covariance)), intervals, level)

    def to_frame(self, level: float = 0.95) -> Any:
        """The summary's table as a frame of pandas, or of pyarrow where pandas is not installed."""
        return self.summary(level).to_frame()

    def __str__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def _tree(self, flat: Floats) -> PyTree:
        return self._problem.criterion.form.tree(flat)

    def _restrictions(self, hypothesis: Mapping[str, float]) -> tuple[NDArray[np.int64], Floats]:
        if not hypothesis:
            raise ValueError("`hypothesis` must name at least one parameter; got none.")
        index, values = [], []
        for name, value in hypothesis.items():
            found = [i for i, own in enumerate(self.names) if own == name or own.startswith(f"{name}[")]
            if not found:
                raise ValueError(f"`hypothesis` must name parameters, {', '.join(self.names)}; got {name!r}.")
            index += found
            values += np.broadcast_to(np.ravel(value), len(found)).tolist()
        return np.array(index), np.array(values, np.float64)


def _outer(problem: Problem, theta: Floats) -> Floats:
    """B: the sum of squared gradients, of rows or of groups."""
    group, num = problem.group, 0
    if group is not None:
        num = int(group.max()) + 1
        padded = np.pad(group, (0, problem.rows.weight.size - len(group)))
        group = jnp.asarray(padded.reshape(problem.rows.weight.shape))
    outer, by_group = gradients(problem.criterion, jnp.asarray(theta), problem.rows, problem.key, group, num)
    if group is None:
        return np.asarray(outer)
    return np.asarray(by_group.T @ by_group) * num / (num - 1)


def _loss_name(loss: Any) -> str:
    parts = [getattr(loss, name) for name in ("within", "between") if hasattr(loss, name)]
    inside = f" ({' within, '.join(_loss_name(part) for part in parts)} between)" if parts else ""
    return type(loss).__name__ + inside


def _share(name: str, value: object) -> None:
    _validate.positive(name, value)
    if not value < 1:  # type: ignore[operator]
        raise ValueError(f"`{name}` must be below 1; got {value!r}.")
