"""Laws to draw from, and the models with whose parameters they are estimated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.random as jr
import numpy as np
from numpy.typing import NDArray

import ptilde
from ptilde import Positive, Real, SemiContinuous, losses
from ptilde.inference.theta import flatten
from ptilde.models import Gaussian, Hurdle

Floats = NDArray[np.float64]
VIGNETTE = losses.Bounded(losses.Ends(np.zeros(1), np.full(1, np.inf), losses.Logarithm(2.0), np.ones(1)))


@dataclass(frozen=True)
class Law:
    """A law whose parameters are known, and how they are estimated.

    Attributes:
        log_q: a model with the law's own parameters, or a function of θ and x.
        draw: n exact draws by a key.
        support: of the columns.
        theta: the law's own parameters of a function; None for a model.
        loss: None for the one that the support asks for.
        hypotheses: true ones to test, by name: which parameters are held at their values; () for all.
    """

    log_q: Any
    draw: Callable[[int, Any], Floats]
    support: Any = None
    theta: Any = None
    loss: Any = None
    hypotheses: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"all": ()})

    @property
    def truth(self) -> Floats:
        """(p,), in the order of the estimate's names."""
        return flat(self.log_q if self.theta is None else self.theta)

    def estimate(self, n: int, key: Any) -> ptilde.inference.Estimate:
        """From n fresh rows. The search starts at the truth: these losses are convex there, with one minimum."""
        for_draws, for_loss = jr.split(key)
        rows = self.draw(n, for_draws)
        return ptilde.estimate(self.log_q, self.theta, rows, support=self.support, loss=self.loss, key=for_loss)

    def starting_at(self, model: Any) -> Law:
        """The same law, with a model whose parameters are where the search starts."""
        return replace(self, log_q=model, hypotheses={})

    def held(self, hypothesis: str) -> dict[str, float]:
        """The parameters that a hypothesis holds, at their true values."""
        which = self.hypotheses[hypothesis]
        chosen = lambda name: not which or any(name == own or name.startswith(f"{own}[") for own in which)  # noqa: E731
        names = flatten(self.log_q if self.theta is None else self.theta)[2]
        return {name: value for name, value in zip(names, self.truth.tolist(), strict=True) if chosen(name)}


def flat(tree: Any) -> Floats:
    """The numbers of a pytree of parameters."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def _with_mean(mean: Any, x: Any) -> Any:
    return -0.5 * (x - mean) ** 2


def _with_variance(variance: Any, x: Any) -> Any:
    return -0.5 * x**2 / variance


def half_normal(n: int, key: Any) -> Floats:
    return np.abs(np.random.default_rng(np.asarray(jr.key_data(key))).standard_normal(n))


def truncated() -> dict[str, Law]:
    """N(0, 1) on x > 0, with one unknown parameter at a time: the vignette of genscore."""
    return {
        "μ, σ known": Law(_with_mean, half_normal, [Positive()], 0.0, VIGNETTE),
        "σ², μ known": Law(_with_variance, half_normal, [Positive()], 1.0, VIGNETTE),
    }


def truncated_gaussian() -> Law:
    """N(0, 1) on x > 0 in its two natural parameters."""
    model = Gaussian(np.zeros(1), np.ones(1))
    return Law(model, lambda n, key: half_normal(n, key)[:, None], [Positive()])


def on_half_line(model: Any, truth: Any, loss: Any = None) -> Law:
    """A law of SciPy on x > 0 that is the model's."""

    def draw(n: int, key: Any) -> Floats:
        return truth.rvs(size=(n, 1), random_state=np.random.default_rng(np.asarray(jr.key_data(key))))

    return Law(model, draw, [Positive()], loss=loss)


def gaussian() -> Law:
    """Three dependent normal columns in their nine natural parameters."""
    precision = np.array([[1.5, -0.4, 0.2], [-0.4, 0.8, 0.3], [0.2, 0.3, 1.2]])
    model = Gaussian(np.array([0.5, -0.3, 0.8]), precision[np.triu_indices(3)])
    return Law(model, model.draw)


def hurdle_pair() -> Law:
    """Two columns that are zero or normal: atoms and amounts both depend on each other, eight parameters."""
    model = Hurdle(np.array([0.4, -0.3]), np.array([0.7]), np.array([0.8, -0.5]), np.array([1.5, -0.4, 0.8]))
    dependence = ("interactions[0]", "precision[1]")
    return Law(
        model, model.draw, [SemiContinuous((0.0,), Real())] * 2, hypotheses={"all": (), "dependence": dependence}
    )


def hurdle_five() -> Law:
    """Five columns that are zero or normal, a chain in K and every pair in J: 35 parameters."""
    precision = np.diag([1.5, 0.8, 1.0, 1.2, 0.9]) - 0.3 * (np.eye(5, k=1) + np.eye(5, k=-1))
    interactions = 0.4 * np.array([1, -1, 0.5, 0, 1, -0.5, 0.5, -1, 0, 1])
    logits, linear = np.array([-0.5, -0.2, 0.1, -0.8, -0.1]), np.array([0.6, -0.4, 0.2, 0.8, -0.3])
    model = Hurdle(logits, interactions, linear, precision[np.triu_indices(5)])
    rows, columns = np.triu_indices(5)
    pairs = [f"precision[{i}]" for i in np.flatnonzero(rows != columns)] + ["interactions"]
    tests = {"all": (), "dependence": pairs}
    return Law(model, model.draw, [SemiContinuous((0.0,), Real())] * 5, hypotheses=tests)
