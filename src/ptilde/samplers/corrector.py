r"""The reverse-time SDE of a noise-conditional density, with Langevin steps that correct what its steps leave wrong.

In $\lambda = \log\sigma$ noise is added by $dx = \sqrt2\,\sigma\,dW$, and taken away, with λ falling, by

$$dx = -2\sigma^2\nabla_x\log p(x, \sigma)\,d\lambda + \sqrt2\,\sigma\,d\bar W
     = 2\,(x - D(x, \lambda))\,d\lambda + \sqrt2\,\sigma\,d\bar W, \qquad D = x + \sigma^2\nabla_x\log p .$$

*Predictor*: exact in the linear part. From σ to $q\sigma$ with D held,

$$x \leftarrow q^2 x + (1 - q^2)\,D(x, \lambda) + q\sigma\sqrt{1 - q^2}\,\xi,$$

which is ancestral sampling (Song et al. 2021, Appendix F, equation 47); their reverse diffusion, Algorithm 2, has
$\sigma\sqrt{1-q^2}\,\xi$, Euler's noise, and differs in second order.

*Corrector*: Langevin steps (`langevin`) at the new level, $\varepsilon = h\sigma^2$, which leave its law as it is.

* Of a score, unadjusted, with $h = 2r^2$. That is the published rule $\varepsilon = 2(r\|\xi\|/\|s\|)^2$ (Algorithm 4)
  with $\|\xi\|^2$ and $\|s\|^2$ at their means d and $d/\sigma^2$ of pure noise, which no data exceed. There they are
  means over a batch of images; at one point $1/\|s\|^2$ has no mean in one or two columns, and of five normal columns
  it doubles the variance.
* Of a log density, accepted or rejected, with h as `Annealed` has it then.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from ptilde import _validate
from ptilde._typing import NoisyLogDensity, NoisyScore, Point, Scalar
from ptilde.samplers.annealed import Annealed
from ptilde.samplers.base import Density, State
from ptilde.samplers.diffusion import ProbabilityFlow
from ptilde.samplers.ladder import longest_step
from ptilde.samplers.langevin import Mala, Ula
from ptilde.samplers.levels import Levels


class PredictorCorrector(eqx.Module):
    """Steps of the reverse-time SDE, each followed by Langevin steps at the level that it reached.

    Accept/reject, where there is a log density, makes the law of a level exact for many corrections, however few the
    steps; of a bare score some bias is left, like that of `Annealed`.

    Args:
        num_steps: of the SDE, evenly spaced in log σ.
        num_corrections: Langevin steps after each of them; each costs one evaluation, as a step does.
        snr: r, of the corrections of a bare score.

    References:
        Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021), Score-based generative modeling through stochastic
        differential equations, ICLR, Algorithms 1, 2 and 4.
    """

    num_steps: int = eqx.field(default=64, static=True)
    num_corrections: int = eqx.field(default=1, static=True)
    snr: float = 0.16

    def __check_init__(self) -> None:
        _validate.whole("num_steps", self.num_steps, 1)
        _validate.whole("num_corrections", self.num_corrections, 0)
        _validate.positive("snr", self.snr)

    @property
    def num_score_calls(self) -> int:
        """Evaluations of the score, or of density and score together, by each chain."""
        return 1 + self.num_steps * (1 + self.num_corrections)

    def __call__(
        self, target: NoisyScore | NoisyLogDensity, x: Point, low: Scalar, high: Scalar, key: PRNGKeyArray
    ) -> Point:
        """Carry x from noise level `high` (log σ) down to `low`."""
        levels = Levels.of(target, x)
        shrink = jnp.exp(2 * (low - high) / self.num_steps)

        def step(state: State, now: tuple[Array, Scalar, Scalar]) -> tuple[State, None]:
            i, before, after = now
            key_noise, key_corrections = jr.split(jr.fold_in(key, i))
            clean = state.x + jnp.exp(2 * before) * state.score
            noise = jnp.exp(after) * jnp.sqrt(1 - shrink) * jr.normal(key_noise, x.shape, x.dtype)
            there = levels.at(after).at(shrink * state.x + (1 - shrink) * clean + noise)
            return self._corrected(levels, there, after, key_corrections), None

        log_sigmas = jnp.linspace(high, low, self.num_steps + 1)
        now = (jnp.arange(self.num_steps), log_sigmas[:-1], log_sigmas[1:])
        return jax.lax.scan(step, levels.at(high).at(x), now)[0].x

    def _corrected(self, levels: Levels, state: State, level: Scalar, key: PRNGKeyArray) -> State:
        """The state after Langevin steps at one level."""
        target, variance = levels.at(level), jnp.exp(2 * level)
        exact = levels.kind is Density
        sampler: Any = Mala(longest_step(state.x.size) * variance) if exact else Ula(2 * self.snr**2 * variance)
        correct = lambda j, state: sampler.step(target, state, jr.fold_in(key, j))[0]  # noqa: E731
        return jax.lax.fori_loop(0, self.num_corrections, correct, state)


NoiseSampler = Annealed | PredictorCorrector | ProbabilityFlow
"""What carries a point from one noise level of a density to a lower one: (target, x, low, high, key) ↦ x."""
