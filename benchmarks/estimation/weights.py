r"""Asymptotic variances under a weight, by quadrature: no draw, no fit.

With $\ell$ the loss at the truth, $n\operatorname{var}\hat\theta \to H^{-1} J H^{-1}$, $H = E\nabla^2\ell$,
$J = E\nabla\ell\,\nabla\ell^\top$. The integrals are sums over y = log x, from $-60$ to 60 in steps of 1/500: the
trapezoidal rule, exact to rounding for smooth integrands that die out, and to about $10^{-6}$ with the kink of a cap.
Where H or J grows on as the lower end moves from -30 to -60, there is no such limit. Of an exponential family maximum
likelihood has $(\operatorname{cov}\,\nabla_\theta\log q)^{-1}$.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import stats

from benchmarks.estimation.laws import Floats
from ptilde import losses
from ptilde.models import Exponential, Gamma, Gaussian, LogNormal

REACH, STEP = 60.0, 0.002
ONE = np.ones(1)
LAWS = {
    "normal on x > 0": (Gaussian(0 * ONE, ONE), stats.halfnorm()),
    "exponential": (Exponential(ONE), stats.expon()),
    "gamma, shape 3": (Gamma(3 * ONE, ONE), stats.gamma(3)),
    "gamma, shape 1": (Gamma(ONE, ONE), stats.gamma(1)),
    "gamma, shape 1/2": (Gamma(0.5 * ONE, ONE), stats.gamma(0.5)),
    "log-normal, σ 0.5": (LogNormal(0 * ONE, 4 * ONE), stats.lognorm(0.5)),
    "log-normal, σ 1": (LogNormal(0 * ONE, ONE), stats.lognorm(1)),
    "log-normal, σ 2": (LogNormal(0 * ONE, ONE / 4), stats.lognorm(2)),
}
WEIGHTS = {
    "min(log(1 + t), 2)": losses.Logarithm(2.0),
    "t": losses.Power(1.0),
    "t^1.5": losses.Power(1.5),
    "t²": losses.Power(2.0),
}
LIKELIHOOD = "likelihood"


def variances() -> dict[str, dict[str, float]]:
    """n·variance of every parameter of every law, by weight; one that is infinite is left out."""
    rows: dict[str, dict[str, float]] = {}
    for law, (model, truth) in LAWS.items():
        columns = {LIKELIHOOD: _cramer_rao(model, truth.logpdf)}
        for weight, h in WEIGHTS.items():
            loss = losses.Bounded(losses.Ends(0 * ONE, np.inf, h, np.array([truth.median()])))
            columns[weight] = asymptotic(lambda model, x: model(x), model, truth.logpdf, loss)
        for i, name in enumerate(type(model).__annotations__):
            if name != "gives":
                there = {column: float(v[i, i]) for column, v in columns.items() if v is not None}
                rows[f"{law}, {name}"] = there
    return rows


def efficiencies(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Of every law, the variance by likelihood over that with a weight, least of its parameters; and the least."""
    result: dict[str, dict[str, float]] = {}
    for law in LAWS:
        own = [row for name, row in rows.items() if name.startswith(f"{law}, ")]
        result[law] = {w: min(row[LIKELIHOOD] / row.get(w, np.inf) for row in own) for w in WEIGHTS}
    result["least"] = {w: min(row[w] for row in result.values()) for w in WEIGHTS}
    return result


def asymptotic(
    log_q: Callable[[Any, Any], Any], theta: Any, log_density: Callable[[Floats], Floats], loss: losses.Bounded
) -> Floats | None:
    """The limit of n·covariance at the true θ, (p, p); None if there is none."""

    def of(theta: Any, x: Any) -> Any:
        return loss(jax.grad(lambda x: log_q(unravel(theta), x)), x, jr.key(0))

    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, theta))
        x, mass = _grid(log_density)
        slope = np.asarray(jax.jit(jax.vmap(jax.grad(of), (None, 0)))(flat, x))
        hessian = np.asarray(jax.jit(jax.vmap(jax.hessian(of), (None, 0)))(flat, x))
    nearer = slice(int(np.searchsorted(x[:, 0], np.exp(-REACH / 2))), None)
    (bread, filling), (short_bread, short_filling) = (
        (np.tensordot(mass[part], hessian[part], 1), (slope[part].T * mass[part]) @ slope[part])
        for part in (slice(None), nearer)
    )
    if not np.allclose(short_bread, bread, rtol=1e-3) or not np.allclose(short_filling, filling, rtol=1e-3):
        return None
    return np.linalg.inv(bread) @ filling @ np.linalg.inv(bread)


def _grid(log_density: Callable) -> tuple[Floats, Floats]:
    """Points (m, 1), and the mass at each."""
    y = np.arange(-REACH, REACH + STEP / 2, STEP)
    mass = STEP * np.exp(log_density(np.exp(y)) + y)
    there = mass > 0
    return np.exp(y)[there, None], mass[there]


def _cramer_rao(model: Any, log_density: Callable) -> Floats:
    with jax.enable_x64(True):
        theta, unravel = ravel_pytree(jax.tree.map(jnp.asarray, model))
        x, mass = _grid(log_density)
        statistic = np.asarray(jax.vmap(jax.grad(lambda t, x: unravel(t)(x)), (None, 0))(theta, x))
    mean = mass @ statistic
    return np.linalg.inv((statistic * mass[:, None]).T @ statistic - np.outer(mean, mean))
