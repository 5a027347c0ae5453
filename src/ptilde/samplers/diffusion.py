r"""The probability-flow ODE of a noise-conditional density (Song et al. 2021, equation 13).

With $\lambda = \log\sigma$ and $D(x, \lambda) = x + \sigma^2\nabla_x\log p(x, \sigma)$, the mean of the clean data
given the noisy,

$$\frac{dx}{d\lambda} = -\sigma^2 \nabla_x \log p(x, \sigma) = x - D(x, \lambda)$$

carries the law of the data at one noise level to that at any other.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

from ptilde import _validate
from ptilde._typing import NoisyLogDensity, Point, Scalar

# Up to so many columns the divergence is exact; above, it is Hutchinson's estimate.
EXACT_DIVERGENCE = 50
_LOOSE = 10.0


class ProbabilityFlow(eqx.Module):
    r"""Transport along the ODE.

    Draws take the second-order multistep scheme in λ, exact in the linear part: with $q = \sigma_{i+1}/\sigma_i$,
    $$x_{i+1} = q\,x_i + (1-q)\,(\tfrac32 D_i - \tfrac12 D_{i-1}),$$
    one gradient a step.

    Args:
        num_steps: of a draw, evenly spaced in λ.
        tolerance: of the adaptive solver that follows a given point.

    References:
        Lu et al. (2022), DPM-Solver++, Algorithm 2 (2M).
        Song et al. (2021), Score-based generative modeling through SDEs.
    """

    num_steps: int = eqx.field(default=32, static=True)
    tolerance: float = 1e-4

    def __check_init__(self) -> None:
        _validate.at_least("num_steps", self.num_steps, 1)

    def __call__(self, log_density: NoisyLogDensity, x: Point, low: Scalar, high: Scalar) -> Point:
        """Carry x from noise level `high` (log σ) down to `low`."""
        levels = jnp.linspace(high, low, self.num_steps + 1)
        shrink = jnp.exp((low - high) / self.num_steps)

        def step(carry: tuple[Point, Point, Scalar], level: Scalar) -> tuple[tuple[Point, Point, Scalar], None]:
            x, before, first = carry
            clean = x + jnp.exp(2 * level) * jax.grad(log_density)(x, level)
            ahead = jnp.where(first, clean, 1.5 * clean - 0.5 * before)
            return (shrink * x + (1 - shrink) * ahead, clean, jnp.asarray(False)), None

        return jax.lax.scan(step, (x, x, jnp.asarray(True)), levels[:-1])[0][0]

    def stretch(self, log_density: NoisyLogDensity, x: Point, low: Scalar, high: Scalar) -> tuple[Point, Scalar]:
        r"""As calling it, with $\log|\det \partial x_\text{end}/\partial x|$ of the discrete scheme itself.

        So the density of what the scheme draws is known exactly, however coarse its steps. A column that does not move
        at all (one that is not active) counts as left where it is.
        """
        carry = lambda x: self(log_density, x, low, high)  # noqa: E731
        end, tangents = jax.vmap(lambda v: jax.jvp(carry, (x,), (v,)), out_axes=(None, 1))(jnp.eye(x.size))
        still = jnp.all(tangents == 0, axis=0) & jnp.all(tangents == 0, axis=1)
        return end, jnp.linalg.slogdet(tangents + jnp.diag(still.astype(x.dtype)))[1]

    def log_density(
        self,
        log_density: NoisyLogDensity,
        at_high: Callable[[Point], Scalar],
        x: Point,
        low: Scalar,
        high: Scalar,
        key: PRNGKeyArray,
    ) -> tuple[Scalar, Scalar]:
        r"""$\log p(x, \sigma_\text{low})$ by the change of variables, and an estimate of its error.

        $$\log p(x) = \log p_\text{high}(x(\lambda_\text{high})) + \int \nabla\cdot\frac{dx}{d\lambda}\,d\lambda,$$
        by an adaptive fifth-order solver; the error is the difference from a solution at ten times the tolerance.

        Args:
            log_density: whose score drives the flow.
            at_high: log density at the highest noise level.
            x: the point.
            low: log σ at the point.
            high: log σ at the other end.
            key: of Hutchinson's estimate, for more than 50 columns.
        """
        field = _with_divergence(log_density, jr.rademacher(key, (x.size,), x.dtype))

        def solve(tolerance: float) -> Scalar:
            end, integral = _integrate(field, x, low, high, tolerance)
            return at_high(end) + integral

        fine = solve(self.tolerance)
        return fine, jnp.abs(fine - solve(_LOOSE * self.tolerance))


def _with_divergence(log_density: NoisyLogDensity, probe: Point) -> Callable:
    """The field of the ODE beside its divergence: exact for few columns, else Hutchinson's estimate with one probe."""

    def field(level: Any, state: tuple[Point, Scalar], _: None) -> tuple[Point, Scalar]:
        velocity = lambda x: -jnp.exp(2 * level) * jax.grad(log_density)(x, level)  # noqa: E731
        v, jvp = jax.linearize(velocity, state[0])
        if probe.size <= EXACT_DIVERGENCE:
            return v, jnp.trace(jax.vmap(jvp)(jnp.eye(probe.size)))
        return v, jnp.vdot(probe, jvp(probe))

    return field


def _integrate(field: Callable, x: Point, low: Scalar, high: Scalar, tolerance: float) -> tuple[Point, Scalar]:
    """Where the ODE takes x, and the integral of the divergence on the way; NaN if the solver gave up."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        low,
        high,
        0.05,
        (x, jnp.zeros((), x.dtype)),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        max_steps=4096,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )
    end, integral = jax.tree.map(lambda a: a[-1], solution.ys)
    return end, jnp.where(solution.result == diffrax.RESULTS.successful, integral, jnp.nan)
