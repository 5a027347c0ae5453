r"""Annealed Langevin dynamics: from much noise to little, so that chains find modes in their shares.

At each of the levels $\sigma_1 > \dots > \sigma_L$ some Langevin steps (`langevin`) on $\log p(x, \sigma_i)$, then
the mean of the clean point given the noisy one, by Tweedie's formula:

$$x \leftarrow x + \varepsilon_i\nabla\log p(x, \sigma_i) + \sqrt{2\varepsilon_i}\,\xi, \quad
  \varepsilon_i = \varepsilon\,\sigma_i^2/\sigma_L^2, \qquad\text{at last}\quad
  x \leftarrow x + \sigma_L^2\,\nabla\log p(x, \sigma_L).$$

Song & Ermon (2019) write $\tfrac\alpha2\nabla\log p$ and $\sqrt\alpha\,\xi$: their α is 2ε. Song & Ermon (2020) write
as here.

**A ladder from the data**, by the techniques of Song & Ermon (2020), with γ the ratio of neighbouring levels and
$h = \varepsilon/\sigma_L^2$, the step in units of each level's variance:

1. $\sigma_1$ is the largest distance between two rows.
2. Noise of level σ in d dimensions has a radius near $N(\sqrt d\,\sigma, \sigma^2/2)$, so that level i puts
   $\Phi(\sqrt{2d}(\gamma - 1) + 3\gamma) - \Phi(\sqrt{2d}(\gamma - 1) - 3\gamma)$ into three standard deviations
   of level i−1. That should be a half. At $d \le 4$ it never is; so here it is asked of what level i−1 puts
   into level i, which has $1/\gamma$ for γ: almost the same for many columns, a little stricter for all.
4. From $N(0, w\gamma^2\sigma^2I)$, T unadjusted steps at $N(0, \sigma^2I)$ lead to the variance, over σ²,
   $(1-h)^{2T}(w\gamma^2 - v) + v$, $v = 1/(1 - h/2)$: ε is where that is least (it is above 1), T makes it about 1.
   There $w = 1$; here it is what the level before left, the fixed point, as on a fine ladder the excess adds up.

With accept/reject ε is no compromise between bias and speed: it is as long as steps on $N(0, \sigma^2I)$ are
accepted with the probability 0.574. There $\log\alpha = \tfrac h4(\|x\|^2 - \|y\|^2)/\sigma^2$ has the mean
$-\tfrac14dh^3$; it is near normal, so its variance is $\tfrac12dh^3$, and accepted are $2\Phi(-\sqrt{dh^3/8})$.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.spatial.distance import pdist
from scipy.special import ndtr, ndtri

from ptilde import _validate
from ptilde._typing import NoisyLogDensity, NoisyScore, Point, Scalar
from ptilde.samplers.base import Density, Field, State, Target
from ptilde.samplers.langevin import Mala, Ula

_ROWS = 2000  # between which distances are taken
_FINEST = 1 / 25  # of the least spread of a column: what 0.01 is to the pixels of CIFAR-10 (Song & Ermon 2020)
_EXCESS = 1.05  # variance after a level's steps, over σ²; Song & Ermon's for CIFAR-10 give 1.055, with w = 1
_STEPS = np.geomspace(1e-4, 1, 2000)  # h


def _array(value: Any) -> Array:
    return jnp.asarray(value, float)


class Annealed(eqx.Module):
    """Langevin steps at each of several noise levels, from high to low.

    Args:
        sigmas: the levels, standard deviations in the units of x, decreasing.
        step_size: ε at the last level; at the others it grows with σ².
        num_steps: at each level.
        adjusted: whether every step is accepted or rejected, so that it leaves the law of its level as it is; for
            densities.
        denoise: whether the last noise is taken away at the end; variances are then short of the data's by σ_L².

    References:
        Song & Ermon (2019), Generative modeling by estimating gradients of the data distribution, NeurIPS, Algorithm 1.
        Song & Ermon (2020), Improved techniques for training score-based generative models, NeurIPS, Techniques 1, 2
        and 4.
        Jolicoeur-Martineau et al. (2020), Adversarial score matching and improved sampling, Section 3.1: the last step.
    """

    sigmas: Float[Array, " L"] = eqx.field(converter=_array)
    step_size: Float[Array, ""] = eqx.field(converter=_array)
    num_steps: int = eqx.field(static=True)
    adjusted: bool = eqx.field(default=False, static=True)
    denoise: bool = eqx.field(default=True, static=True)

    def __check_init__(self) -> None:
        if self.sigmas.ndim != 1 or not self.sigmas.size:
            raise ValueError(f"`sigmas` must be a list of levels; got shape {self.sigmas.shape}.")
        for i, sigma in enumerate(sigmas := self.sigmas.tolist()):
            _validate.positive(f"sigmas[{i}]", sigma)
        for before, after in pairwise(sigmas):
            if not after < before:
                got = f"{after:.6g} after {before:.6g}"
                raise ValueError(f"`sigmas` must be strictly decreasing; got {got}. Sort them, each once.")
        if self.step_size.ndim:
            raise ValueError(f"`step_size` must be one number; got shape {self.step_size.shape}.")
        _validate.positive("step_size", self.step_size.item())
        _validate.whole("num_steps", self.num_steps, 1)

    @classmethod
    def fitted(
        cls,
        x: ArrayLike,
        num_score_calls: int | None = None,
        *,
        sigma_min: float | None = None,
        adjusted: bool = False,
        denoise: bool = True,
    ) -> Self:
        """Levels, step size and steps a level by the rules of this module's head; print it to see them.

        The largest distance is that between 2,000 rows, evenly spaced in the table. Steps at a level are as few as
        bring a Gaussian's variance to 1.05 σ². Calls that are left over buy more levels, so that the weights of modes
        can follow while the noise falls past the distance between them.

        Args:
            x: rows of data, (n, d).
            num_score_calls: how many evaluations of the score a chain may take; None for as few as the rules ask for.
            sigma_min: the last level; None for 1/25 of the least standard deviation of a column.
            adjusted: as of the class.
            denoise: as of the class.
        """
        rows = _rows(x)
        high = pdist(rows[np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(int)]).max()
        low = rows.std(axis=0).min() * _FINEST if sigma_min is None else sigma_min
        _validate.positive("sigma_min", low)
        if not low < high:
            raise ValueError(f"`sigma_min` must be below the largest distance of two rows, {high:.6g}; got {low:.6g}.")
        span, d = np.log(high / low), rows.shape[1]
        num_levels = 1 + int(np.ceil(span / np.log(widest_ratio(d))))
        if num_score_calls is None:
            num_steps = _enough_steps(np.exp(span / (num_levels - 1)))
        else:
            num_levels, num_steps = _within(num_score_calls, span, num_levels, adjusted)
        h = longest_step(d) if adjusted else least_excess(np.exp(span / (num_levels - 1)), num_steps)[0]
        return cls(np.geomspace(high, low, num_levels), h * low**2, num_steps, adjusted, denoise)

    @property
    def num_score_calls(self) -> int:
        """Evaluations of the score, or of density and score together, by each chain; the denoising step needs none."""
        num_levels = self.sigmas.size
        return num_levels * (self.num_steps + 1) if self.adjusted else 1 + num_levels * self.num_steps

    def __str__(self) -> str:
        first, last, num_levels = float(self.sigmas[0]), float(self.sigmas[-1]), self.sigmas.size
        ratio = (first / last) ** (1 / max(num_levels - 1, 1))
        h = float(self.step_size) / last**2
        kind = "Metropolis-adjusted " if self.adjusted else ""
        lines = [
            f"levels: {num_levels}, from σ = {first:.4g} to {last:.4g}, mean ratio {ratio:.4g}",
            f"{kind}Langevin steps at each: {self.num_steps}, ε = {h:.4g} σ² ({float(self.step_size):.4g} at the last)",
            f"score calls of a chain: {self.num_score_calls:,}" + (", the last to denoise" if self.denoise else ""),
        ]
        if not self.adjusted and num_levels > 1 and h < 2:  # else there is no such limit
            lines.append(f"variance of a Gaussian after a level's steps: {excess(ratio, h, self.num_steps):.4g} σ²")
        return "\n".join(lines)

    def draw(
        self, target: NoisyScore | NoisyLogDensity, x0: Float[ArrayLike, "chain d"], key: PRNGKeyArray
    ) -> Float[Array, "chain d"]:
        """The ends of all chains.

        Args:
            target: (x, log σ) ↦ score (d,), or log density, of the data blurred by noise of level σ.
            x0: where the chains start: about the size of the data, or of noise of the first level.
            key: of the steps.

        Raises:
            ValueError: if shapes do not fit, or a chain leaves the finite numbers.
        """
        x = jnp.asarray(x0, jnp.result_type(float))
        if x.ndim != 2 or not x.size:
            raise ValueError(f"`x0` must be a point for each chain, (chain, d); got shape {x.shape}.")
        ends = _drawn(self, _levels(target, x[0], self.adjusted), x, key)
        astray = ~np.isfinite(np.asarray(ends)).all(axis=1)
        if astray.any():
            raise ValueError(
                f"`target` must be finite wherever chains go; got other values in {astray.sum()} of {len(x)} chains, "
                f"first in the one from {x[astray.argmax()].tolist()}. Start elsewhere, or shorten `step_size`."
            )
        return ends


class _Levels(eqx.Module):
    """The targets of all levels, log densities or scores."""

    function: Callable[[Point, Scalar], Any]
    kind: type[Density] | type[Field] = eqx.field(static=True)

    def at(self, log_sigma: Scalar) -> Target:
        return self.kind(_Level(self.function, log_sigma))


class _Level(eqx.Module):
    """A function of (x, log σ) at one level."""

    function: Callable[[Point, Scalar], Any]
    log_sigma: Scalar

    def __call__(self, x: Point) -> Any:
        return self.function(x, self.log_sigma)


def _levels(function: Callable, x: Point, adjusted: bool) -> _Levels:
    value = eqx.filter_eval_shape(function, x, jnp.zeros((), x.dtype))
    shape = getattr(value, "shape", None)
    if shape not in ((), x.shape):
        raise ValueError(f"`target` must return one number, or a score of shape {x.shape}; got {shape or value!r}.")
    if shape and adjusted:
        raise ValueError("`adjusted` must be False for a bare score; give a log density, (x, log σ) ↦ number.")
    return _Levels(function, Field if shape else Density)


@eqx.filter_jit
def _drawn(sampler: Annealed, targets: _Levels, x: Float[Array, "chain d"], key: PRNGKeyArray) -> Array:
    """Step t of chain i has the key fold_in(fold_in(key, t), i), as of chains at one level."""
    sigmas, num_levels = sampler.sigmas.astype(x.dtype), sampler.sigmas.size
    last = sigmas[-1]

    def step(states: State, t: Array) -> tuple[State, None]:
        here, next_ = t // sampler.num_steps, jnp.minimum((t + 1) // sampler.num_steps, num_levels - 1)
        now, after = targets.at(jnp.log(sigmas[here])), targets.at(jnp.log(sigmas[next_]))
        step_size = sampler.step_size * (sigmas[here] / last) ** 2
        keys = jax.vmap(lambda i: jr.fold_in(jr.fold_in(key, t), i))(jnp.arange(len(x)))
        if not sampler.adjusted:  # a step needs the score where it ends for the next one alone: at that one's level
            return jax.vmap(Ula(step_size).step, (None, 0, 0))(after, states, keys)[0], None
        states, _ = jax.vmap(Mala(step_size).step, (None, 0, 0))(now, states, keys)
        return jax.lax.cond(here == next_, lambda: states, lambda: jax.vmap(after.at)(states.x)), None

    states = jax.vmap(targets.at(jnp.log(sigmas[0])).at)(x)
    states, _ = jax.lax.scan(step, states, jnp.arange(num_levels * sampler.num_steps))
    return states.x + last**2 * states.score if sampler.denoise else states.x


def overlap(ratio: float, d: int) -> float:
    """The share of level σ within three standard deviations of the radius of level `ratio` σ."""
    root = np.sqrt(2 * d)
    return ndtr(root * (ratio - 1) + 3 * ratio) - ndtr(root * (ratio - 1) - 3 * ratio)


def widest_ratio(d: int) -> float:
    """γ such that half of each level lies where the next one does."""
    return float(brentq(lambda ratio: overlap(1 / ratio, d) - 0.5, 1.0, 100.0))  # type: ignore[arg-type]


def variance_after(ratio: float, h: Any, num_steps: int, before: float = 1.0) -> Any:
    """Variance over σ² that steps at N(0, σ²I) make of N(0, before · ratio² σ²I)."""
    limit = 1 / (1 - h / 2)
    return (1 - h) ** (2 * num_steps) * (before * ratio**2 - limit) + limit


def excess(ratio: float, h: Any, num_steps: int) -> Any:
    """Variance over σ² at the end of each of many such levels; infinite if they forget too little."""
    left = ratio**2 * (1 - h) ** (2 * num_steps)
    return np.where(left < 1, variance_after(ratio, h, num_steps, 0.0) / np.maximum(1 - left, 1e-12), np.inf)


def least_excess(ratio: float, num_steps: int) -> tuple[float, float]:
    """The step h for which the excess is least, and what it is."""
    found = excess(ratio, _STEPS, num_steps)
    return float(_STEPS[found.argmin()]), float(found.min())


def longest_step(d: int) -> float:
    """The step h at which 0.574 of the steps on a Gaussian are accepted."""
    return 2 * (ndtri(Mala.goal / 2) ** 2 / d) ** (1 / 3)


def _enough_steps(ratio: float) -> int:
    """The fewest steps after which the variance is near σ²; they grow with γ² − 1."""
    num_steps = 1
    while least_excess(ratio, num_steps)[1] > _EXCESS:
        num_steps += 1
    return num_steps


def _within(num_score_calls: int, span: float, fewest: int, adjusted: bool) -> tuple[int, int]:
    """Levels and steps at each for so many calls: as many levels as leave enough steps."""
    _validate.whole("num_score_calls", num_score_calls, 1)
    steps = lambda num: num_score_calls // num - 1 if adjusted else (num_score_calls - 1) // num  # noqa: E731
    if steps(fewest) < 1:
        least = 2 * fewest if adjusted else 1 + fewest
        raise ValueError(
            f"`num_score_calls` must be at least {least}, one step at each of {fewest} levels; got {num_score_calls}. "
            "Allow more calls, or a larger `sigma_min`."
        )
    num = fewest
    while steps(num + 1) >= 1 and least_excess(np.exp(span / num), steps(num + 1))[1] <= _EXCESS:
        num += 1
    return num, steps(num)


def _rows(x: ArrayLike) -> NDArray[np.floating]:
    rows = np.asarray(x, float)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"`x` must be rows of data, (n, d) with at least two; got shape {rows.shape}.")
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(f"`x` must be finite; got {rows[row, column]} in row {row}, column {column}.")
    if not (spread := rows.std(axis=0)).all():
        raise ValueError(f"`x` must vary in every column; column {spread.argmin()} is constant. Leave it out.")
    return rows
