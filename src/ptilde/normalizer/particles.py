r"""log Z by tempered sequential Monte Carlo: particles go from a start of known density to q.

At each temperature β, on the path $\pi_\beta \propto \pi_0^{1-\beta} q^\beta$,

* reweight by $(q/\pi_0)^{\beta' - \beta}$; the products of the mean weights estimate $Z = \int q$;
* resample, systematically, where the effective sample size is below half;
* move (`normalizer.moves`), in rounds until particles have forgotten where they were.

Particles are in 32 islands, each with a product and a resampling of its own, whose spread is the standard error.
Temperatures and moves are chosen from all particles together, which costs a bias of order 1/n, not of order 1/√n. All
is done twice, or as long as climbs get shorter: particles that have arrived only say where the next ones start, and
untie real coordinates (`normalizer.untied`), so that the path has the shape of q from its start on.

References:
    Del Moral, Doucet & Jasra (2006), Sequential Monte Carlo samplers, JRSS B 68, equation (14).
    Zhou, Johansen & Aston (2016), Toward automatic model comparison: an adaptive sequential Monte Carlo approach, JCGS
    25: temperatures by the conditional effective sample size.
    Beskos, Jasra, Kantas & Thiery (2016), On the convergence of adaptive sequential Monte Carlo methods, Annals of
    Applied Probability 26, Theorem 3.1.
"""

from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import rankdata

from ptilde._typing import LogDensity
from ptilde.normalizer.importance import LogNormalizer, refuse_few
from ptilde.normalizer.moves import Moves, Path, Seen, look, moved
from ptilde.normalizer.place import Place
from ptilde.normalizer.start import first
from ptilde.samplers.columns import Columns

_ISLANDS = 32  # so many for the error of their mean to be known within an eighth
FEWEST_PARTICLES = 8 * _ISLANDS
_MOST_RUNGS = 400
_KEPT = 0.9  # of the effective sample size, from one temperature to the next
_FORGOTTEN = 0.5  # the largest rank correlation with where a particle was, at which moves at a temperature end
_FEW_ROUNDS, _MOST_ROUNDS = 8, 64
_GAINED = 0.995  # of that correlation, by a round; else more of them are of no use
_DRIFT = 6.5  # standard errors: by chance once in 10^6 (t with 31 degrees), for each of 2d means
_SPREAD = 0.25  # of the islands, in units of their mean: beyond it their law is too skew for a mean of 32 and its error
_MOST_CLIMBS = 4
_SHORTER = 0.75  # a climb that is no shorter than that, beside the one before, is the last
Floats = NDArray[np.float64]


class Cloud(NamedTuple):
    """Particles on islands.

    Attributes:
        x: (r·n, d).
        log_w: (r, n), which sum to one on each island.
        log_z: (r,), so far.
        least: effective sample size, (r,).
    """

    x: Array
    log_w: Floats
    log_z: Floats
    least: Floats

    @property
    def weight(self) -> Floats:
        """Of all particles together; their sum is 1."""
        return np.exp(self.log_w).ravel() / len(self.log_w)


class Climb(NamedTuple):
    """Particles that have arrived, how they moved at last, in how many rounds, and over how many temperatures."""

    cloud: Cloud
    moves: Moves
    num_rounds: int
    num_rungs: int


def tempered(
    log_q: LogDensity, columns: Columns, mean: Floats, std: Floats, key: PRNGKeyArray, num_particles: int
) -> LogNormalizer:
    """Log Z by sequential Monte Carlo.

    Args:
        log_q: of x.
        columns: of x.
        mean: where the first particles start, in charts.
        std: the same.
        key: of all randomness.
        num_particles: on all islands together.
    """
    shape, key_climbs, key_drift = (_ISLANDS, num_particles // _ISLANDS), *jr.split(key)
    place = Place.first(log_q, columns, mean, std)
    climb = _climbed(place, jr.fold_in(key_climbs, 0), shape)
    for i in range(1, _MOST_CLIMBS if any(columns.has_body) else 1):
        place, before = place.fitted(climb.cloud.x, climb.cloud.weight), climb
        climb = _climbed(place, jr.fold_in(key_climbs, i), shape)
        if climb.num_rungs > _SHORTER * before.num_rungs:
            break
    found = _together(climb.cloud, num_particles)
    path, x = Path(place.log_q, place.start, jnp.asarray(1, float)), climb.cloud.x
    for i in range(climb.num_rounds):  # as many again: whether particles have settled
        x, _ = moved(climb.moves, path, x, jr.fold_in(key_drift, i))
    _refuse_drift(found, climb.cloud, x)
    return found


def _climbed(place: Place, key: PRNGKeyArray, shape: tuple[int, int]) -> Climb:
    """Particles at the last temperature."""
    log_q, start = place
    num, random = shape[0] * shape[1], np.random.default_rng(np.asarray(jr.key_data(key)))
    x = first(start, jr.fold_in(key, 0), num)
    cloud = Cloud(x, np.full(shape, -np.log(shape[1])), np.zeros(shape[0]), np.full(shape[0], float(shape[1])))
    moves, beta, rounds = Moves.first(start.columns), 0.0, 0
    for rung in range(1, _MOST_RUNGS):
        seen = look(log_q, start, cloud.x)
        if rung == 1:
            _refuse_start(seen, cloud.x, place)
        there = _next(beta, seen.rise, cloud.log_w.ravel() - np.log(shape[0]))
        cloud = _reweighted(cloud, (there - beta) * seen.rise.reshape(shape))
        moves, beta = moves.fitted(seen, cloud.weight, there), there
        cloud = _resampled(cloud, random)
        path = Path(log_q, start, jnp.asarray(beta, float))
        x, moves, rounds = _settled(moves, path, cloud.x, jr.fold_in(key, rung))
        cloud = cloud._replace(x=x)
        if beta == 1:
            return Climb(cloud, moves, rounds, rung)
    raise ValueError(
        f"`log_q` must be within reach of its start; got to temperature {beta:.2g} of 1 in {_MOST_RUNGS} steps. "
        "Give `x0`, points (n, d) spread like the mass, or check that log q has a finite integral."
    )


def _next(beta: float, rise: Floats, log_w: Floats) -> float:
    """The largest temperature that keeps 0.9 of the conditional effective sample size."""

    def kept(there: float) -> bool:
        gain = (there - beta) * rise
        return np.exp(2 * logsumexp(log_w + gain) - logsumexp(log_w + 2 * gain)) >= _KEPT

    low, high = beta, 1.0
    if kept(high):
        return high
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if kept(middle) else (low, middle)
    return high


def _reweighted(cloud: Cloud, gain: Floats) -> Cloud:
    """Weights after a gain (r, n)."""
    log_w = cloud.log_w + gain
    step = logsumexp(log_w, axis=1)
    log_w = log_w - step[:, None]
    size = np.exp(-logsumexp(2 * log_w, axis=1))
    return Cloud(cloud.x, log_w, cloud.log_z + step, np.minimum(cloud.least, size))


def _resampled(cloud: Cloud, random: np.random.Generator) -> Cloud:
    """Equal weights again on islands where fewer than half of the particles count."""
    num, n = cloud.log_w.shape
    chosen, log_w = np.arange(num * n).reshape(num, n), cloud.log_w.copy()
    for i in np.flatnonzero(logsumexp(2 * log_w, axis=1) > np.log(2 / n)):
        places = (np.arange(n) + random.random()) / n
        chosen[i] = i * n + np.minimum(np.searchsorted(np.cumsum(np.exp(log_w[i])), places), n - 1)
        log_w[i] = -np.log(n)
    return cloud._replace(x=cloud.x[chosen.ravel()], log_w=log_w)


def _settled(moves: Moves, path: Path, x: Array, key: PRNGKeyArray) -> tuple[Array, Moves, int]:
    """Particles after so many rounds that they forget where they were."""
    before, tie, rounds = _centred_ranks(x), 1.0, 0
    for rounds in range(1, _MOST_ROUNDS + 1):
        x, moves = moved(moves, path, x, jr.fold_in(key, rounds))
        last, tie = tie, float(np.max(np.sum(before * _centred_ranks(x), 0)))
        if tie < _FORGOTTEN or (rounds >= _FEW_ROUNDS and tie > _GAINED * last):  # between modes nothing is to wait for
            break
    return x, moves, rounds


def _centred_ranks(x: Array) -> Floats:
    """Ranks in each column, of mean 0 and squared length 1; all 0 where all are equal."""
    ranks = rankdata(np.asarray(x), axis=0)
    ranks -= ranks.mean(0)
    length = np.linalg.norm(ranks, axis=0)
    return ranks / np.where(length > 0, length, 1.0)


def _together(top: Cloud, num_particles: int) -> LogNormalizer:
    """The mean over the islands, and its standard error from their spread."""
    value = float(logsumexp(top.log_z) - np.log(len(top.log_z)))
    relative = np.exp(top.log_z - value)
    effective = float(relative.sum() ** 2 / np.sum(relative**2 / top.least))
    cure = (
        f"Give more particles than num_particles={num_particles}, or `x0`, points (n, d) spread like the mass, or "
        "`draws` of a density near q with their `log_density`."
    )
    refuse_few(value, effective, cure)
    spread = float(relative.std(ddof=1))
    if not spread <= _SPREAD:
        raise ValueError(
            f"`log_normalizer` must rest on runs that agree within {_SPREAD:.0%}; got {spread:.0%} among "
            f"{len(relative)} (log Z near {value:.6g}, unreliably). {cure}"
        )
    return LogNormalizer(value, spread / len(relative) ** 0.5, effective, "smc")


def _refuse_start(seen: Seen, x: Array, place: Place) -> None:
    wrong = np.isnan(seen.log_q) | (seen.log_q == np.inf)
    if wrong.any() or not np.isfinite(seen.log_q).any():
        i = int(np.argmax(wrong))
        at = place.point(x[i])
        cure = "Correct it there." if wrong.any() else "Give `x0`, points (n, d) where there is mass, or the `support`."
        what = f"{seen.log_q[i]} at {at}" if wrong.any() else f"-inf at all of {len(wrong)} points around {at}"
        raise ValueError(f"`log_q` must be a number below infinity, and finite near its start; got {what}. {cure}")


def _refuse_drift(found: LogNormalizer, top: Cloud, x: Array) -> None:
    """Refuse particles that go on changing their law at the last temperature: they have not followed the others."""
    ranks = rankdata(np.concatenate([np.asarray(top.x), np.asarray(x)]), axis=0) / (2 * len(x)) - 0.5
    later = np.concatenate([ranks, np.abs(ranks)], 1).reshape(2, *top.log_w.shape, -1)
    change = np.einsum("rn,rnd->rd", np.exp(top.log_w), later[1] - later[0])
    error = change.std(0, ddof=1) / np.sqrt(len(change))
    size = np.abs(np.divide(change.mean(0), error, out=np.zeros_like(error), where=error > 0))
    if size.max() > _DRIFT:
        raise ValueError(
            f"`log_q` must be a density that particles can follow; they still drift at the last temperature, by "
            f"{size.max():.2g} standard errors in a coordinate (log Z near {found.value:.6g}, unreliably). Write "
            "log q in coordinates that untie scales from each other, give `x0`, or `draws` of a density near q."
        )
