r"""blackjax's Hamiltonian samplers behind our interface.

In the coordinates z of $x + Lz$ around the place x of a chain, with $LL^\top$ the preconditioner and
a momentum $p \sim N(0, I)$, a leapfrog step of length h is

$$p \leftarrow p + \tfrac h2 L^\top s(x + Lz), \quad z \leftarrow z + hp, \quad
  p \leftarrow p + \tfrac h2 L^\top s(x + Lz).$$

One of them is the proposal of MALA where $h = \sqrt{2\varepsilon}$; so ε is the step size here, too. Two products with
L a step are fewer than NUTS takes with a mass matrix, and no factor of one is computed at every step.

Within a `Jump` coordinates that are held have no momentum, and L is a root of $M_{SS}$. With momentum of their own they
would drift for ever, which is harmless to the law, but no trajectory would seem to turn back.

blackjax is imported where a step is traced, as its import takes a third of a second.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ptilde import _validate
from ptilde._typing import LogDensity, Point, Scalar
from ptilde.samplers.base import Density, Info, State, Target
from ptilde.samplers.jump import Slice
from ptilde.samplers.langevin import across, along, check_step_size, numbers

_JITTER = 0.2  # of h, either way: a trajectory as long as a period of the target would end where it began, always


class Hmc(eqx.Module):
    """Hamiltonian Monte Carlo: trajectories of a set number of steps, accepted or rejected at their ends.

    The length h of steps varies by a fifth either way from one trajectory to the next.

    Args:
        num_steps: of the leapfrog, each an evaluation of the score.
        step_size: ε = h²/2, in units of `scale` squared; warm-up finds it.
        scale: L, (d,) or (d, d); warm-up finds it; None for the identity.

    References:
        Duane, Kennedy, Pendleton & Roweth (1987), Hybrid Monte Carlo, Physics Letters B 195.
        Neal (2011), MCMC using Hamiltonian dynamics, Handbook of MCMC, Section 5.3.2: why step sizes should vary.
    """

    num_steps: int = eqx.field(default=8, static=True)
    step_size: Float[Array, ""] = eqx.field(converter=numbers, default=0.1)
    scale: Float[Array, " d"] | Float[Array, "d d"] | None = None
    goal: ClassVar[float] = 0.8

    def __check_init__(self) -> None:
        _validate.whole("num_steps", self.num_steps, 1)
        check_step_size(self.step_size)

    def init(self, target: Target, x: Point) -> State:
        """The state at a point."""
        return _refusing_fields(target, self).at(x)

    def step(self, target: Density, state: State, key: PRNGKeyArray) -> tuple[State, Info]:
        """One trajectory: its end, or x again."""
        from blackjax.mcmc import hmc

        key, key_length = jr.split(key)
        factor = jr.uniform(key_length, minval=1 - _JITTER, maxval=1 + _JITTER)
        kernel = hmc.build_kernel()
        return _followed(
            lambda *args: kernel(*args, num_integration_steps=self.num_steps), self, factor, target, state, key
        )


class Nuts(eqx.Module):
    """The No-U-Turn sampler: trajectories that double until they turn back, and a point of each by its weight.

    Chains that run side by side wait for the longest trajectory among them.

    Args:
        max_doublings: of a trajectory, of at most 2 to this power, less one, steps.
        step_size: ε = h²/2, in units of `scale` squared; warm-up finds it.
        scale: L, (d,) or (d, d); warm-up finds it; None for the identity.

    References:
        Hoffman & Gelman (2014), The No-U-Turn sampler, JMLR 15, Algorithm 3.
        Betancourt (2017), A conceptual introduction to Hamiltonian Monte Carlo, Appendix A: the points by weight.
    """

    max_doublings: int = eqx.field(default=10, static=True)
    step_size: Float[Array, ""] = eqx.field(converter=numbers, default=0.1)
    scale: Float[Array, " d"] | Float[Array, "d d"] | None = None
    goal: ClassVar[float] = 0.8

    def __check_init__(self) -> None:
        _validate.whole("max_doublings", self.max_doublings, 1)
        check_step_size(self.step_size)

    def init(self, target: Target, x: Point) -> State:
        """The state at a point."""
        return _refusing_fields(target, self).at(x)

    def step(self, target: Density, state: State, key: PRNGKeyArray) -> tuple[State, Info]:
        """One trajectory, and a point of it."""
        from blackjax.mcmc import nuts

        kernel = nuts.build_kernel()
        return _followed(
            lambda *args: kernel(*args, max_num_doublings=self.max_doublings), self, 1.0, target, state, key
        )


def _followed(
    kernel: Callable, sampler: Hmc | Nuts, factor: Scalar | float, target: Density, state: State, key: PRNGKeyArray
) -> tuple[State, Info]:
    """A step of one of blackjax's kernels, with steps of the length h times a factor."""
    from blackjax.mcmc.hmc import HMCState
    from blackjax.mcmc.metrics import gaussian_euclidean

    x, (root, free) = state.x, _root(sampler.scale, target.log_q, state.x)
    metric = gaussian_euclidean(jnp.ones_like(x))._replace(
        sample_momentum=lambda key, z: jnp.where(free, jr.normal(key, z.shape, z.dtype), 0.0)
    )
    length = (factor * jnp.sqrt(2 * sampler.step_size)).astype(x.dtype)
    log_q: Any = state.log_q  # which blackjax calls a float
    start = HMCState(jnp.zeros_like(x), log_q, across(root, state.score))
    end, info = kernel(key, start, lambda z: target.log_q(x + along(root, z)), length, metric)
    return target.at(x + along(root, end.position)), Info(info.acceptance_rate, info.is_divergent)


def _root(scale: Array | None, log_q: LogDensity, x: Point) -> tuple[Array | None, Array]:
    """A root of the preconditioner, and which coordinates it moves: all, or in a `Jump` those in their bodies."""
    if not isinstance(log_q, Slice):
        return scale, jnp.ones(x.shape, bool)
    free = log_q.columns.active(log_q.option)
    if scale is None or scale.ndim == 1:
        return scale, free
    both = free[:, None] & free
    return jnp.linalg.cholesky(jnp.where(both, scale @ scale.T, jnp.eye(x.size, dtype=scale.dtype))), free


def _refusing_fields(target: Target, sampler: Any) -> Density:
    if not isinstance(target, Density):
        name = type(sampler).__name__
        raise ValueError(
            f"`sampler` must be Mala() or Ula() for a bare score; got {name}. Its trajectories are accepted by their "
            "energy, which a score does not tell: give the log density."
        )
    return target
