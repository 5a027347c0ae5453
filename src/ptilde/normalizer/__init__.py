r"""Normalising constants of arbitrary densities, always with a standard error.

* No body, and at most $2^{20}$ points: their sum.
* One or two bodies at most, and few patterns of atoms and categories: quadrature of every pattern, and their sum.
* Else: tempered sequential Monte Carlo over coordinates and patterns together.
* Draws of a known density, if they are given: importance sampling.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from ptilde import _validate
from ptilde._typing import LogDensity
from ptilde.normalizer.charted import Charted, refuse_undefined
from ptilde.normalizer.importance import LogNormalizer, effective_sample_size, importance, refuse_few
from ptilde.normalizer.particles import FEWEST_PARTICLES, tempered
from ptilde.normalizer.peaks import Face
from ptilde.normalizer.quadrature import integrate
from ptilde.normalizer.start import spread
from ptilde.normalizer.support import bodies_of, columns_of, kinds_of, num_patterns, patterns, points_on
from ptilde.normalizer.tails import refuse_tails
from ptilde.samplers.base import returned
from ptilde.samplers.columns import Columns

__all__ = ["LogNormalizer", "effective_sample_size", "importance", "log_normalizer"]

_METHODS = ("quadrature", "smc", "importance", "sum")
_MOST_POINTS = 2**20  # that are summed
_MOST_PATTERNS = 64  # that are integrated one by one; 64 times as many if asked for
_MOST_SIDES = 2  # of an integral by quadrature
_WORST = 1e-3  # relative error of quadrature
_BLOCK = 2**16
Floats = NDArray[np.float64]


def log_normalizer(
    log_q: Callable[..., Any],
    *,
    dim: int | None = None,
    support: Any = None,
    method: str | None = None,
    key: PRNGKeyArray | int = 0,
    num_particles: int = 4096,
    x0: ArrayLike | None = None,
    draws: ArrayLike | None = None,
    log_density: ArrayLike | None = None,
) -> LogNormalizer:
    r"""The log of the integral of a density, with a standard error.

    The measure is Lebesgue's, plus a unit mass on every atom and category. All is done in double precision.

    Args:
        log_q: x (d,) ↦ log q(x); −inf where q is zero.
        dim: d, if neither `support` nor `x0` say it.
        support: a kind for each column, or one for all; all real if None. Categories that are no numbers are 0, 1, ...
        method: "sum", "quadrature", "smc" or "importance"; None for what suits.
        key: of all randomness, or a seed.
        num_particles: of "smc"; its error falls with their root.
        x0: where there is mass, (d,) or (n, d): needed for peaks that are narrow and far from 0, and best spread over
            all modes that are known. Quadrature looks for peaks around it, particles start with its mean and spread.
        draws: (n, d), for importance sampling, such as `ScoreDensity.sample` gives.
        log_density: of `draws`, (n,).

    Returns:
        `value` and `standard_error`, a pair, with `effective` (draws) and `method` beside it.

    Raises:
        ValueError: if log q does not fall, or the answer would rest on fewer than 50 effective draws or on one run, or
            quadrature does not settle. A mode that nothing finds is not missed: spread `x0` over those you know.

    Examples:
        >>> log_normalizer(lambda x: -0.5 * x @ x, dim=1).value  # ½ log 2π
        0.918...
    """
    kinds = kinds_of(support, dim, x0=x0, draws=draws)
    if method is not None:
        _validate.one_of("method", method, _METHODS)
    _validate.whole("num_particles", num_particles, FEWEST_PARTICLES)
    if (draws is None) != (log_density is None) or (method == "importance" and draws is None):
        raise ValueError("`draws` and `log_density` must be given together, for importance sampling; got one or none.")
    key = jr.key(key) if isinstance(key, int) else key
    with jax.enable_x64(True):
        if (shape := returned(log_q, len(kinds))) != ():
            raise ValueError(f"`log_q` must return one number; got {shape}.")
        columns = columns_of(kinds)
        hints = np.zeros((0, len(kinds))) if x0 is None else _coordinates(columns, points_on(kinds, "x0", x0))
        method = method or ("importance" if draws is not None else _suited(columns))
        if method == "importance":
            return _from_draws(log_q, points_on(kinds, "draws", np.asarray(draws)), log_density)
        _refuse_method(method, columns)
        density = Charted(log_q, columns)
        if method == "sum":
            return _sum(density)
        mean, std = spread(hints)
        refuse_tails(density, patterns(columns, _MOST_PATTERNS), mean, std)
        if method == "quadrature":
            return _by_quadrature(density, hints)
        return tempered(log_q, columns, mean, std, key, num_particles)


def _suited(columns: Columns) -> str:
    num_bodies, num = sum(columns.has_body), num_patterns(columns)
    if not num_bodies and num <= _MOST_POINTS:
        return "sum"
    return "quadrature" if 0 < num_bodies <= _MOST_SIDES and num <= _MOST_PATTERNS else "smc"


def _refuse_method(method: str, columns: Columns) -> None:
    num_bodies, num = sum(columns.has_body), num_patterns(columns)
    if method == "sum" and (num_bodies or num > _MOST_POINTS):
        raise ValueError(
            f"`method` must not be 'sum' beyond {_MOST_POINTS} points or with columns that have a body; got "
            f"{num} patterns and {num_bodies} bodies. Try method='smc'."
        )
    if method == "quadrature" and not (0 < num_bodies <= _MOST_SIDES and num <= 64 * _MOST_PATTERNS):
        raise ValueError(
            f"`method` must not be 'quadrature' with more than {_MOST_SIDES} bodies, none, or {64 * _MOST_PATTERNS} "
            f"patterns; got {num_bodies} bodies and {num} patterns. Try method='smc', or 'sum' without bodies."
        )


def _coordinates(columns: Columns, x: Floats) -> Floats:
    """The coordinates (n, d) of points in charts; NaN where a column is on an atom."""
    option, u = jax.vmap(columns.split)(jnp.asarray(x))
    return np.where(np.asarray(jax.vmap(columns.active)(option)), np.asarray(u), np.nan)


def _sum(density: Charted) -> LogNormalizer:
    counts = density.columns.num_options
    num, total = num_patterns(density.columns), -np.inf
    for first in range(0, num, _BLOCK):
        option = np.stack(np.unravel_index(np.arange(first, min(first + _BLOCK, num)), counts), 1)
        u = np.zeros(option.shape)
        found, _ = density.values(option, u)
        refuse_undefined(density, option, u, found)
        total = np.logaddexp(total, logsumexp(found))
    if total == -np.inf:
        raise ValueError(f"`log_q` must be finite somewhere; got -inf at all {num} points.")
    return LogNormalizer(float(total), 0.0, np.inf, "sum")


def _by_quadrature(density: Charted, hints: Floats) -> LogNormalizer:
    """The sum of the integrals over all patterns."""
    logs, errors = [], []
    for option in patterns(density.columns, 64 * _MOST_PATTERNS):
        places = bodies_of(density.columns, option)
        if places.size:
            near = hints[:, places]
            log_integral, error = integrate(Face(density, option, places), near[np.isfinite(near).all(1)])
        else:
            u = np.zeros((1, len(option)))
            found, _ = density.values(option, u)
            refuse_undefined(density, option, u, found)
            log_integral, error = float(found[0]), 0.0
        logs.append(log_integral)
        errors.append(error)
    value = float(logsumexp(logs))
    error = float(np.sum(np.exp(np.array(logs) - value) * errors))
    if not error <= _WORST:
        raise ValueError(
            f"`log_q` must be smooth enough, and fall fast enough, for quadrature; got a relative error of {error:.2g} "
            f"with log Z near {value:.6g}. Give `x0` where its peaks are, bounds in `support`, or method='smc'."
        )
    return LogNormalizer(value, error, np.inf, "quadrature")


@eqx.filter_jit
def _at(log_q: LogDensity, x: Array) -> Array:
    return jax.vmap(log_q)(x)


def _from_draws(log_q: LogDensity, x: Floats, log_density: Any) -> LogNormalizer:
    log_p = np.asarray(log_density, float)
    if log_p.shape != (len(x),) or not np.isfinite(log_p).all():
        raise ValueError(
            f"`log_density` must be finite, one number for each of the draws {x.shape}; got shape {log_p.shape}, "
            f"{int((~np.isfinite(log_p)).sum())} of them not finite."
        )
    log_q_x = np.asarray(_at(log_q, jnp.asarray(x)))
    wrong = np.isnan(log_q_x) | (log_q_x == np.inf)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(f"`log_q` must be a number below infinity; got {log_q_x[i]} at {x[i].tolist()}.")
    found = importance(log_q_x - log_p)
    refuse_few(found.value, found.effective, "Give more draws, of a density that is wider or nearer to q.")
    return found
