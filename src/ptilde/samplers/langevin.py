r"""Langevin dynamics in discrete steps, with and without accept/reject.

Of $dx = \nabla\log q\,dt + \sqrt2\,dW$, in steps of ε and with a preconditioner $LL^\top$:

$$y = x + \varepsilon LL^\top s(x) + \sqrt{2\varepsilon}\,L\xi, \qquad \xi \sim N(0, I).$$

Unadjusted chains (ULA) have a law that is off by O(ε). MALA accepts y with the probability
$\min(1, \frac{q(y)\,r(x \mid y)}{q(x)\,r(y \mid x)})$, which makes q invariant exactly. The way back needs the noise

$$\xi' = -\xi - \sqrt{\varepsilon/2}\,L^\top(s(x) + s(y)), \qquad
\log\frac{r(x \mid y)}{r(y \mid x)} = \tfrac12\|\xi\|^2 - \tfrac12\|\xi'\|^2 .$$
"""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ptilde._typing import Point, Scalar
from ptilde.samplers.base import Info, State, Target

_ASTRAY = -1000.0  # log acceptance: a step that lands where q is e^1000 times less has left the target


def numbers(value: object) -> Array:
    """As floats of JAX's precision."""
    return jnp.asarray(value, float)


class Ula(eqx.Module):
    """Unadjusted Langevin dynamics.

    Args:
        step_size: ε; in units of `scale` squared.
        scale: L, (d,) or (d, d); None for the identity.

    References:
        Roberts & Tweedie (1996), Exponential convergence of Langevin distributions and their discrete approximations,
        Bernoulli 2.
    """

    step_size: Float[Array, ""] = eqx.field(converter=numbers, default=0.1)
    scale: Float[Array, " d"] | Float[Array, "d d"] | None = None
    goal: ClassVar[None] = None

    def __check_init__(self) -> None:
        check_step_size(self.step_size)

    def init(self, target: Target, x: Point) -> State:
        """The state at a point."""
        return target.at(x)

    def step(self, target: Target, state: State, key: PRNGKeyArray) -> tuple[State, Info]:
        """One step."""
        there, _, _ = _proposed(self.step_size, self.scale, target, state, key)
        return there, Info(jnp.ones(()), ~jnp.all(jnp.isfinite(there.x)))


class Mala(eqx.Module):
    """The Metropolis-adjusted Langevin algorithm; of a bare score (`Field`), approximate.

    Args:
        step_size: ε, in units of `scale` squared; warm-up finds it.
        scale: L, (d,) or (d, d); warm-up finds it; None for the identity.

    References:
        Roberts & Rosenthal (1998), Optimal scaling of discrete approximations to Langevin diffusions, JRSS B 60:
        acceptance 0.574.
    """

    step_size: Float[Array, ""] = eqx.field(converter=numbers, default=0.1)
    scale: Float[Array, " d"] | Float[Array, "d d"] | None = None
    goal: ClassVar[float] = 0.574

    def __check_init__(self) -> None:
        check_step_size(self.step_size)

    def init(self, target: Target, x: Point) -> State:
        """The state at a point."""
        return target.at(x)

    def step(self, target: Target, state: State, key: PRNGKeyArray) -> tuple[State, Info]:
        """One step: y, or x again."""
        key_noise, key_accept = jr.split(key)
        there, noise, back = _proposed(self.step_size, self.scale, target, state, key_noise)
        log_ratio = target.rise(state, there) + 0.5 * (jnp.vdot(noise, noise) - jnp.vdot(back, back))
        log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
        taken = jnp.log(jr.uniform(key_accept, dtype=log_ratio.dtype)) < log_ratio
        kept = State(*(jnp.where(taken, new, old) for new, old in zip(there, state, strict=True)))
        return kept, Info(jnp.exp(jnp.minimum(log_ratio, 0.0)), log_ratio < _ASTRAY)


def _proposed(
    step_size: Scalar, scale: Array | None, target: Target, state: State, key: PRNGKeyArray
) -> tuple[State, Point, Point]:
    """The state at y, the noise that led there, and the noise that would lead back."""
    noise = jr.normal(key, state.x.shape, state.x.dtype)
    root = jnp.sqrt(step_size / 2)
    there = target.at(state.x + 2 * root * along(scale, noise + root * across(scale, state.score)))
    return there, noise, -noise - root * across(scale, state.score + there.score)


def along(scale: Array | None, v: Point) -> Point:
    """Lv."""
    return v if scale is None else scale * v if scale.ndim == 1 else scale @ v


def across(scale: Array | None, v: Point) -> Point:
    """Lᵀv."""
    return v if scale is None else scale * v if scale.ndim == 1 else scale.T @ v


def check_step_size(step_size: Array) -> None:
    """Refuse a step size that is not one number."""
    if not eqx.is_array(step_size) or step_size.ndim:
        raise ValueError(f"`step_size` must be one number; got {step_size!r}.")
