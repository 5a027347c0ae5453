"""θ: any pytree of parameters, its flat form and the names of its entries."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from numpy.typing import NDArray


class Form(eqx.Module):
    """How a flat θ becomes the pytree again.

    Args:
        treedef: of the parameters.
        shapes: of its arrays.
        rest: what is in the pytree and no parameter.
    """

    treedef: Any = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    rest: PyTree

    def tree(self, theta: Float[Array, " p"] | NDArray[np.floating]) -> PyTree:
        """The pytree of θ, or of any p numbers of the same meaning; a last axis that p does not use up is kept."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        parts = [theta[end - int(np.prod(shape)) : end] for end, shape in zip(ends, self.shapes, strict=True)]
        shaped = [part.reshape(shape + part.shape[1:]) for part, shape in zip(parts, self.shapes, strict=True)]
        return eqx.combine(jax.tree.unflatten(self.treedef, shaped), self.rest)


def flatten(theta: PyTree) -> tuple[NDArray[np.float64], Form, tuple[str, ...]]:
    """A pytree's parameters as one array of p numbers, its form, and p names.

    Parameters are arrays and numbers; within a module floating arrays only, as elsewhere.
    """
    loose = not isinstance(theta, eqx.Module)
    wanted = jax.tree.map(lambda leaf: _is_parameter(leaf, loose), theta)
    params, rest = eqx.partition(theta, wanted)
    leaves, treedef = jax.tree.flatten(params)
    leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
    if not leaves or not sum(leaf.size for leaf in leaves):
        raise ValueError(f"`theta0` must hold at least one number to estimate; got {theta!r}.")
    flat = np.concatenate([leaf.ravel() for leaf in leaves])
    names = tuple(name for path, leaf in jax.tree_util.tree_leaves_with_path(params) for name in _names(path, leaf))
    if not np.isfinite(flat).all():
        where = int(np.argmin(np.isfinite(flat)))
        raise ValueError(f"`theta0` must hold finite numbers; got {flat[where]} at {names[where]}.")
    return flat, Form(treedef, tuple(leaf.shape for leaf in leaves), rest), names


def _is_parameter(leaf: Any, loose: bool) -> bool:
    if isinstance(leaf, (bool, np.bool_)) or not isinstance(leaf, (int, float, np.number, np.ndarray, jax.Array)):
        return False
    if not loose and isinstance(leaf, (int, float)):
        return False
    kind = jnp.result_type(leaf)
    return jnp.issubdtype(kind, jnp.floating) or (loose and jnp.issubdtype(kind, jnp.integer))


def _names(path: Any, leaf: Any) -> list[str]:
    name = jax.tree_util.keystr(path, simple=True, separator=".") or "theta"
    shape = np.shape(leaf)
    return [f"{name}[{', '.join(map(str, index))}]" if index else name for index in np.ndindex(shape)]
