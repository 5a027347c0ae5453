r"""Normalising constants of arbitrary densities, always with a standard error.

* No body, and at most $2^{20}$ points: their sum.
* One or two bodies at most, and few patterns of atoms and categories: quadrature of every pattern, and their sum.
* Else: tempered sequential Monte Carlo over real coordinates and patterns together.
* Draws of a known density, if they are given: importance sampling.
"""

import itertools
import math
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
from ptilde.normalizer.importance import LogNormalizer, effective_sample_size, importance, refuse_few
from ptilde.normalizer.particles import NUM_RUNS, tempered, wide
from ptilde.normalizer.quadrature import integrate
from ptilde.normalizer.space import Space, kinds_of
from ptilde.normalizer.tails import Slice, refuse_tails

__all__ = ["LogNormalizer", "effective_sample_size", "importance", "log_normalizer"]

_METHODS = ("quadrature", "smc", "importance", "sum")
_MOST_POINTS = 2**20  # that are summed
_MOST_PATTERNS = 64  # that are integrated one by one
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
        support: a kind for each column, or one for all; all real if None.
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
    kinds = kinds_of(support, dim, x0, draws)
    if method is not None:
        _validate.one_of("method", method, _METHODS)
    _validate.whole("num_particles", num_particles, 8 * NUM_RUNS)
    if (draws is None) != (log_density is None) or (method == "importance" and draws is None):
        raise ValueError("`draws` and `log_density` must be given together, for importance sampling; got one or none.")
    key = jr.key(key) if isinstance(key, int) else key
    with jax.enable_x64(True):
        _refuse_shape(log_q, len(kinds))
        space = Space.of(kinds)
        method = method or ("importance" if draws is not None else _suited(space))
        if method == "importance":
            return _from_draws(log_q, draws, log_density, len(kinds))
        _refuse_method(method, space)
        if method == "sum":
            return _sum(log_q, space)
        hints = np.zeros((0, len(space.bodies))) if x0 is None else _hints(space, x0)
        first = wide(hints, len(space.bodies))
        refuse_tails(log_q, space, _patterns(space, key), first.mean, first.sd)
        if method == "quadrature":
            return _by_quadrature(log_q, space, hints)
        return tempered(log_q, space, first, key, num_particles)


def _suited(space: Space) -> str:
    num_patterns = math.prod(space.counts)
    if not space.bodies and num_patterns <= _MOST_POINTS:
        return "sum"
    few = len(space.bodies) <= _MOST_SIDES and num_patterns <= _MOST_PATTERNS
    return "quadrature" if space.bodies and few else "smc"


def _refuse_method(method: str, space: Space) -> None:
    num_patterns, k = math.prod(space.counts), len(space.bodies)
    if method == "sum" and (k or num_patterns > _MOST_POINTS):
        raise ValueError(
            f"`method` must not be 'sum' beyond {_MOST_POINTS} points or with columns that have a body; got "
            f"{num_patterns} patterns and {k} bodies. Try method='smc'."
        )
    if method == "quadrature" and not (0 < k <= _MOST_SIDES and num_patterns <= 64 * _MOST_PATTERNS):
        raise ValueError(
            f"`method` must not be 'quadrature' with more than {_MOST_SIDES} bodies, none, or {64 * _MOST_PATTERNS} "
            f"patterns; got {k} bodies and {num_patterns} patterns. Try method='smc', or 'sum' without bodies."
        )


def _refuse_shape(log_q: Callable[..., Any], d: int) -> None:
    try:
        value = jax.eval_shape(log_q, jax.ShapeDtypeStruct((d,), jnp.result_type(float)))
    except Exception as error:  # it is the user's function: whatever it raises is told
        raise ValueError(
            f"`log_q` must be defined at a point of shape ({d},); got {type(error).__name__}: {str(error)[:200]}"
        ) from error
    if getattr(value, "shape", None) != ():
        raise ValueError(f"`log_q` must return one number; got {getattr(value, 'shape', value)!r}.")


def _hints(space: Space, x0: ArrayLike) -> Floats:
    x = np.atleast_2d(np.asarray(x0, float))
    for column, kind in enumerate(space.kinds):
        fits = np.asarray(kind.holds(x[:, column]))
        if not fits.all():
            value = x[np.argmin(fits), column]
            raise ValueError(f"`x0` must lie in its support {kind}; got {value} in column {column}.")
    return space.coordinates(x)


def _patterns(space: Space, key: PRNGKeyArray) -> Floats:
    """All patterns of the choices, or some, drawn, where there are too many."""
    if math.prod(space.counts) <= 64 * _MOST_PATTERNS:
        every = list(itertools.product(*map(range, space.counts)))
        return np.array(every, float).reshape(len(every), len(space.counts))
    return np.floor(np.asarray(jr.uniform(key, (_MOST_PATTERNS, len(space.counts)))) * np.array(space.counts))


@eqx.filter_jit
def _at(log_q: LogDensity, x: Array) -> Array:
    return jax.vmap(log_q)(x)


def _log_q(log_q: LogDensity, x: Floats) -> Floats:
    """Log q of rows, in blocks."""
    found = np.concatenate([np.asarray(_at(log_q, jnp.asarray(x[i : i + _BLOCK]))) for i in range(0, len(x), _BLOCK)])
    wrong = np.isnan(found) | (found == np.inf)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(f"`log_q` must be a number below infinity; got {found[i]} at {x[i].tolist()}.")
    return found.astype(float)


def _sum(log_q: LogDensity, space: Space) -> LogNormalizer:
    num = math.prod(space.counts)
    total = -np.inf
    for first in range(0, num, _BLOCK):
        which = np.unravel_index(np.arange(first, min(first + _BLOCK, num)), space.counts)
        x = np.stack([row[code] for row, code in zip(space.atoms, which, strict=True)], 1)
        total = np.logaddexp(total, logsumexp(_log_q(log_q, x)))
    if total == -np.inf:
        raise ValueError(f"`log_q` must be finite somewhere; got -inf at all {num} points.")
    return LogNormalizer(float(total), 0.0, np.inf, "sum")


def _by_quadrature(log_q: LogDensity, space: Space, hints: Floats) -> LogNormalizer:
    """The sum of the integrals over all patterns."""
    logs, errors = [], []
    for z in _patterns(space, jr.key(0)):
        places = np.flatnonzero(np.asarray(space.active(jnp.asarray(z))))
        if places.size:
            near = hints[:, places]
            density = Slice(log_q, space, jnp.asarray(z), jnp.asarray(places))
            log_integral, error = integrate(density, near[np.isfinite(near).all(1)])
        else:
            x = np.asarray(space.x(jnp.zeros(len(space.bodies)), jnp.asarray(z)))
            log_integral, error = float(_log_q(log_q, x[None])[0]), 0.0
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


def _from_draws(log_q: LogDensity, draws: Any, log_density: Any, d: int) -> LogNormalizer:
    x, log_p = np.asarray(draws, float), np.asarray(log_density, float)
    x = x[:, None] if x.ndim == 1 else x
    if log_p.shape != (len(x),) or x.shape[1] != d or not np.isfinite(log_p).all():
        raise ValueError(
            f"`log_density` must be finite, one number for each of the draws (n, {d}); got shapes {log_p.shape} and "
            f"{x.shape}, {int((~np.isfinite(log_p)).sum())} of them not finite."
        )
    found = importance(_log_q(log_q, x) - log_p)
    refuse_few(found.value, found.effective, "Give more draws, of a density that is wider or nearer to q.")
    return found
