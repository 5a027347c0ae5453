"""log Z by tempered sequential Monte Carlo: two pilots, then independent runs up the ladder that they chose."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import NDArray
from scipy.special import logsumexp

from ptilde._typing import LogDensity
from ptilde.normalizer.importance import LogNormalizer, refuse_few
from ptilde.normalizer.space import Extended, Space
from ptilde.samplers.moves import Start
from ptilde.samplers.tempering import DENSE, Cloud, Rungs, begin, climb, pilot

NUM_RUNS = 32  # independent: so many for the error of their mean to be known within an eighth
_WIDE = 3.0  # standard deviations of the first start, in units of the chart
_DRIFT = 6.5  # standard errors: by chance once in 10^6 (t with 31 degrees), for each of 2d means
_DOMINANT = 0.5  # share of one run in the sum of all
Floats = NDArray[np.float64]


class Wide(NamedTuple):
    """Where the first particles begin."""

    mean: Floats
    sd: Floats


def wide(hints: Floats, k: int) -> Wide:
    """Around the hints, if there are any; else around zero."""
    if not len(hints):
        return Wide(np.zeros(k), np.full(k, _WIDE))
    with np.errstate(invalid="ignore"):
        mean = np.array([column[np.isfinite(column)].mean() if np.isfinite(column).any() else 0 for column in hints.T])
        sd = np.array([np.nanstd(column) if np.isfinite(column).sum() > 1 else _WIDE for column in hints.T])
    return Wide(mean.reshape(k), np.where(sd > 0, 1.5 * sd, _WIDE).reshape(k))


def tempered(log_q: LogDensity, space: Space, first: Wide, key: PRNGKeyArray, num_particles: int) -> LogNormalizer:
    """Log Z by sequential Monte Carlo.

    Args:
        log_q: of x.
        space: of x.
        first: where the first particles begin.
        key: of all randomness.
        num_particles: of all independent runs together.
    """
    start = space.start(first.mean, np.diag(first.sd))
    _refuse_start(Extended(log_q, space, start), start, jr.fold_in(key, 0))
    size = max(num_particles // 4, 4 * len(first.mean), 256)
    _, cloud = _piloted(Extended(log_q, space, start), start, jr.fold_in(key, 1), size)
    start = _fitted(space, start, cloud, first)
    target = Extended(log_q, space, start)
    rungs, _ = _piloted(target, start, jr.fold_in(key, 2), size)
    top, later = climb(target, start, rungs, jr.split(jr.fold_in(key, 3), NUM_RUNS), max(num_particles // NUM_RUNS, 2))
    found = _together(np.asarray(top.log_z), np.asarray(top.least), num_particles)
    _refuse_drift(found, top, later)
    return found


def _piloted(target: Extended, start: Start, key: PRNGKeyArray, num_particles: int) -> tuple[Rungs, Cloud]:
    """A pilot that reaches the target."""
    rungs, cloud, reached = pilot(target, start, key, num_particles)
    if not reached >= 1:
        raise ValueError(
            f"`log_q` must be within reach of its start; got to temperature {float(reached):.2g} of 1 in "
            f"{int(rungs.num)} steps. Give `x0`, points (n, d) spread like the mass, or check that log q has a finite "
            "integral."
        )
    return rungs, cloud


def _refuse_start(target: Extended, start: Start, key: PRNGKeyArray) -> None:
    w = begin(start, key, 1024).w
    found = np.asarray(jax.vmap(target)(w))
    wrong = np.isnan(found) | (found == np.inf)
    if wrong.any() or not np.isfinite(found).any():
        i = int(np.argmax(wrong))
        x = np.asarray(target.space.x(*start.split(w[i]))).tolist()
        cure = "Correct it there." if wrong.any() else "Give `x0`, points (n, d) where there is mass, or the `support`."
        what = f"{found[i]} at {x}" if wrong.any() else f"-inf at all of {len(found)} points around {x}"
        raise ValueError(f"`log_q` must be a number below infinity, and finite near its start; got {what}. {cure}")


def _fitted(space: Space, start: Start, cloud: Cloud, first: Wide) -> Start:
    """A start with the spread of the particles that arrived, and some more."""
    k = len(first.mean)
    u, z, weight = np.asarray(cloud.w)[:, :k], np.asarray(cloud.w)[:, k:], np.exp(np.asarray(cloud.log_w))
    if not k:
        return start
    on = np.asarray(jax.vmap(space.active)(jnp.asarray(z)))
    share = np.where(on, weight[:, None], 0.0)
    enough = on.sum(0) >= 20
    total = np.where(enough, share.sum(0), 1.0)
    mean = np.where(enough, (share * u).sum(0) / total, first.mean)
    variance = np.where(enough, (share * (u - mean) ** 2).sum(0) / total, first.sd**2)
    variance = np.maximum(variance, 1e-12 * first.sd**2)
    if space.choosers or k > DENSE:  # coordinates that may be off must be independent
        return space.start(mean, np.diag(np.sqrt(variance)))
    away, little = u - mean, 10 / (10 + len(u))
    covariance = (1 - little) * (away * weight[:, None]).T @ away + little * np.diag(variance)
    return space.start(mean, np.asarray(np.linalg.cholesky(covariance), np.float64))


def _refuse_drift(found: LogNormalizer, top: Cloud, later: Cloud) -> None:
    """Refuse particles that go on changing their law at the top: they have not followed the temperatures."""

    def means(cloud: Cloud) -> Floats:
        w = np.asarray(cloud.w)
        weight = np.exp(np.asarray(cloud.log_w))[..., None]
        away = w - centre
        return np.concatenate([(weight * away).sum(1), (weight * np.abs(away)).sum(1)], 1)

    centre = np.median(np.asarray(top.w).reshape(-1, top.w.shape[-1]), 0)
    change = means(later) - means(top)
    spread = change.std(0, ddof=1) / np.sqrt(len(change))
    size = np.abs(np.divide(change.mean(0), spread, out=np.zeros_like(spread), where=spread > 0))
    if size.size and size.max() > _DRIFT:
        raise ValueError(
            f"`log_q` must be a density that particles can follow; they still drift at the last temperature, by "
            f"{size.max():.2g} standard errors in a coordinate (log Z near {found.value:.6g}, unreliably). Write "
            "log q in coordinates that untie scales from each other, give `x0`, or `draws` of a fitted density."
        )


def _together(log_z: Floats, least: Floats, num_particles: int) -> LogNormalizer:
    """The mean of independent runs, and its standard error from their spread."""
    value = float(logsumexp(log_z) - np.log(len(log_z)))
    relative = np.exp(log_z - value)
    effective = relative.sum() ** 2 / np.sum(relative**2 / least)
    cure = f"Give more particles than num_particles={num_particles}, or `x0`, points (n, d) spread like the mass."
    refuse_few(value, effective, cure)
    if relative.max() > _DOMINANT * relative.sum():
        share = relative.max() / relative.sum()
        raise ValueError(
            f"`log_normalizer` must rest on many runs; got {share:.0%} of the sum from one of {len(log_z)} "
            f"(log Z near {value:.6g}). {cure}"
        )
    error = float(relative.std(ddof=1) / np.sqrt(len(relative)))
    return LogNormalizer(value, error, float(effective), "smc")
