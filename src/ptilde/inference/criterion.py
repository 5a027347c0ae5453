"""A user's log density as a loss at one point; and what is refused of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree
from numpy.typing import NDArray

from ptilde.fit import NoMinimum, Unidentified, derived
from ptilde.fit.newton import Rows, losses
from ptilde.inference.theta import Form
from ptilde.tabular.points import Points


class Criterion(eqx.Module):
    """The loss at one point, of a flat θ.

    Args:
        log_q: (θ, x) ↦ log q.
        loss: of `ptilde.losses`.
        form: of θ.
        scalar: whether log q is given x as a number.
    """

    log_q: Callable[..., Array]
    loss: Any
    form: Form
    scalar: bool = eqx.field(static=True)

    def density(self, theta: Array, x: Array) -> Array:
        """Log q at one point (d,)."""
        return jnp.asarray(self.log_q(self.form.tree(theta), x[0] if self.scalar else x), x.dtype)

    def __call__(self, theta: Array, x: Array, key: PRNGKeyArray) -> Array:
        """The loss at one point (d,)."""
        return self.loss(derived(partial(self.density, theta), "log density", self.loss.needs), x, key)


class _Seen(eqx.Module):
    """Log q, the loss and the sum of its derivatives in θ: what must be finite."""

    criterion: Criterion

    def __call__(self, theta: Array, x: Array, key: PRNGKeyArray) -> Array:
        loss, slopes = jax.value_and_grad(self.criterion)(theta, x, key)
        return jnp.stack([self.criterion.density(theta, x), loss, jnp.sum(slopes)])


def takes_numbers(log_q: Callable[..., Any], theta: PyTree, data: Points) -> bool:
    """Whether log q is given numbers; or a refusal of one that cannot be evaluated, or gives no number."""
    shapes = [(), (1,)] if data.scalar else [(data.x.shape[1],)]
    for shape in shapes:
        x = jax.ShapeDtypeStruct(shape, jnp.float64)
        try:
            value = jax.eval_shape(log_q, theta, x)
        except Exception as error:  # it is the user's function: whatever it raises is told
            if shape == shapes[-1]:
                raise ValueError(
                    f"`log_q` must be defined at (theta0, x) for x of shape {shape}; got "
                    f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
                ) from error
            continue
        if getattr(value, "shape", None) == () and not jnp.issubdtype(value.dtype, jnp.complexfloating):
            return shape == ()
        if shape == shapes[-1]:
            raise ValueError(
                f"`log_q` must return one number for x of shape {shape}; got {_kind_of(value)}. "
                "x is one point, no table: sum over its columns."
            )
    raise AssertionError("there is a last shape")


def _kind_of(value: Any) -> str:
    return f"an array of shape {value.shape}" if hasattr(value, "shape") else type(value).__name__


def refuse_undefined(
    criterion: Criterion, theta: NDArray[np.float64], rows: Rows, key: PRNGKeyArray, x: NDArray[np.float64]
) -> None:
    """Refuse a log density, or a loss, that is not finite somewhere on the data at the start."""
    elsewhere = "Start elsewhere, or correct `log_q` or the support."
    unsafe = (
        "Perhaps x is outside the region of the loss, or a `jnp.where` hides a value that is not finite: make both of "
        "its sides safe. Or start elsewhere."
    )
    seen = np.asarray(losses(_Seen(criterion), jnp.asarray(theta), rows, key)).reshape(-1, 3)[: len(x)]
    for values, what, cure in (
        (seen[:, 0], "log_q(theta0, x)", elsewhere),
        (seen[:, 1], "the loss, made of derivatives of log_q,", unsafe),
        (seen[:, 2], "a derivative of the loss in theta", unsafe),
    ):
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            at = np.array2string(x[row], precision=6, threshold=8)
            raise ValueError(
                f"`log_q` must be finite on the data; got {what} = {values[row]} in row {row}, x = {at}. {cure}"
            )


def in_words(error: Exception | None, names: tuple[str, ...]) -> ValueError:
    """Why there is no estimate, with the names of the parameters."""
    if isinstance(error, NoMinimum):
        return ValueError(
            f"The loss must have a minimum; got none: {error}. The model may be too flexible for the data, or q too "
            "wide to have an integral; bound it, or start elsewhere (`theta0`)."
        )
    assert isinstance(error, Unidentified)
    parts = [(value, name) for value, name in zip(error.direction, names, strict=True) if abs(value) > 1e-3]
    rule = "`theta0` must hold parameters that the data determine; got"
    if len(parts) == 1:
        return ValueError(
            f"{rule} {parts[0][1]!r}, which does nothing: log q changes by a constant at most, and constants "
            "cannot be seen. Drop it."
        )
    terms = " ".join(f"{'-' if value < 0 else '+'} {abs(value):.3g} {name}" for value, name in parts[:8])
    more = f" ... ({len(parts)} parameters)" if len(parts) > 8 else ""
    return ValueError(
        f"{rule} a combination along which the loss is flat: {terms.removeprefix('+ ')}{more}. Drop or "
        "fix one of them, or write log q so that it depends on what they share (for a symmetric matrix: its upper "
        "triangle)."
    )
