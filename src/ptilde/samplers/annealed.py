r"""Annealed Langevin dynamics: from much noise to little, so that chains find modes in their shares.

At each of the levels $\sigma_1 > \dots > \sigma_L$ some Langevin steps (`langevin`) on $\log p(x, \sigma_i)$, then
the mean of the clean point given the noisy one, by Tweedie's formula:

$$x \leftarrow x + \varepsilon_i\nabla\log p(x, \sigma_i) + \sqrt{2\varepsilon_i}\,\xi, \quad
  \varepsilon_i = \varepsilon\,\sigma_i^2/\sigma_L^2, \qquad\text{at last}\quad
  x \leftarrow x + \sigma_L^2\,\nabla\log p(x, \sigma_L).$$

Song & Ermon (2019) write $\tfrac\alpha2\nabla\log p$ and $\sqrt\alpha\,\xi$: their α is 2ε. Song & Ermon (2020) write
as here.

The rules by which a ladder is chosen from data stand in `ladder`.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist

from ptilde import _validate
from ptilde._typing import NoisyLogDensity, NoisyScore, Point, Scalar
from ptilde.samplers.base import Density, State
from ptilde.samplers.ladder import enough_steps, excess, least_excess, longest_step, rows_of, widest_ratio, within
from ptilde.samplers.langevin import Mala, Ula, numbers
from ptilde.samplers.levels import Levels

_ROWS = 2000  # between which distances are taken
_FINEST = 1 / 25  # of the least spread of a column: what 0.01 is to the pixels of CIFAR-10 (Song & Ermon 2020)


class Annealed(eqx.Module):
    """Langevin steps at each of several noise levels, from high to low.

    Chains must keep up with the levels. With N steps for each factor e of σ, and h = ε/σ², columns that vary much more
    than the last noise end too wide by the share 1/(hN) of their variance: unadjusted, with the steps that the rules
    give, a tenth at N = 120; with accept/reject and its long steps less than a hundredth.

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

    sigmas: Float[Array, " L"] = eqx.field(converter=numbers)
    step_size: Float[Array, ""] = eqx.field(converter=numbers)
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
        """Levels, step size and steps a level by the rules of `ladder`; print it to see them.

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
        rows = rows_of(x)
        high = pdist(rows[np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(int)]).max()
        low = rows.std(axis=0).min() * _FINEST if sigma_min is None else sigma_min
        _validate.positive("sigma_min", low)
        if not low < high:
            raise ValueError(f"`sigma_min` must be below the largest distance of two rows, {high:.6g}; got {low:.6g}.")
        return cls.between(high, low, rows.shape[1], num_score_calls, adjusted=adjusted, denoise=denoise)

    @classmethod
    def between(
        cls,
        high: float,
        low: float,
        dim: int,
        num_score_calls: int | None = None,
        *,
        adjusted: bool = False,
        denoise: bool = True,
    ) -> Self:
        """As `fitted`, with the first level, the last one and the number of columns given."""
        _validate.positive("low", low)
        _validate.at_least("high", high, low)
        _validate.whole("dim", dim, 1)
        span = np.log(high / low)
        num_levels = 1 + max(int(np.ceil(span / np.log(widest_ratio(dim)))), 1)
        if num_score_calls is None:
            num_steps = enough_steps(np.exp(span / (num_levels - 1)))
        else:
            num_levels, num_steps = within(num_score_calls, span, num_levels, adjusted)
        h = longest_step(dim) if adjusted else least_excess(np.exp(span / (num_levels - 1)), num_steps)[0]
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

    def __call__(
        self, target: NoisyScore | NoisyLogDensity, x: Point, low: Scalar, high: Scalar, key: PRNGKeyArray
    ) -> Point:
        """Carry x from noise level `high` (log σ) down to `low`, with the ladder stretched to these ends in log σ.

        The number of levels, the steps at each and ε/σ² stay as they are. The last noise stays, too: the end is a draw
        of the law at level `low`.
        """
        position = jnp.log(self.sigmas / self.sigmas[-1]) / jnp.log(self.sigmas[0] / self.sigmas[-1])
        log_sigmas = low + (high - low) * (position if position.size > 1 else 0 * self.sigmas).astype(x.dtype)
        return _descended(self, self._levels(target, x), log_sigmas, x, lambda t: jr.fold_in(key, t)).x

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
        ends = _drawn(self, self._levels(target, x[0]), x, key)
        astray = ~np.isfinite(np.asarray(ends)).all(axis=1)
        if astray.any():
            raise ValueError(
                f"`target` must be finite wherever chains go; got other values in {astray.sum()} of {len(x)} chains, "
                f"first in the one from {x[astray.argmax()].tolist()}. Start elsewhere, or shorten `step_size`."
            )
        return ends

    def _levels(self, target: Callable, x: Point) -> Levels:
        levels = Levels.of(target, x)
        if self.adjusted and levels.kind is not Density:
            raise ValueError("`adjusted` must be False for a bare score; give a log density, (x, log σ) ↦ number.")
        return levels


@eqx.filter_jit
def _drawn(sampler: Annealed, targets: Levels, x: Float[Array, "chain d"], key: PRNGKeyArray) -> Array:
    """Step t of chain i has the key fold_in(fold_in(key, t), i), as of chains at one level."""

    def end(x: Point, i: Array) -> Point:
        log_sigmas = jnp.log(sampler.sigmas.astype(x.dtype))
        state = _descended(sampler, targets, log_sigmas, x, lambda t: jr.fold_in(jr.fold_in(key, t), i))
        return state.x + jnp.exp(2 * log_sigmas[-1]) * state.score if sampler.denoise else state.x

    return jax.vmap(end)(x, jnp.arange(len(x)))


def _descended(sampler: Annealed, targets: Levels, log_sigmas: Array, x: Point, key_of: Callable) -> State:
    """One chain at the last of some levels; `key_of` says the key of step t."""
    num_levels = log_sigmas.size
    h = sampler.step_size / sampler.sigmas[-1] ** 2

    def step(state: State, t: Array) -> tuple[State, None]:
        here, next_ = t // sampler.num_steps, jnp.minimum((t + 1) // sampler.num_steps, num_levels - 1)
        now, after = targets.at(log_sigmas[here]), targets.at(log_sigmas[next_])
        step_size = h * jnp.exp(2 * log_sigmas[here])
        if not sampler.adjusted:  # a step needs the score where it ends for the next one alone: at that one's level
            return Ula(step_size).step(after, state, key_of(t))[0], None
        state, _ = Mala(step_size).step(now, state, key_of(t))
        return jax.lax.cond(here == next_, lambda: state, lambda: after.at(state.x)), None

    return jax.lax.scan(step, targets.at(log_sigmas[0]).at(x), jnp.arange(num_levels * sampler.num_steps))[0]
