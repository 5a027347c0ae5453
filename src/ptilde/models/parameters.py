r"""What the models of this folder share: how parameters are packed, checked, and drawn with.

A triangle is *packed*: the entries of the upper triangle, row by row (`numpy.triu_indices`), with the diagonal for a
precision, without it for interactions. Matrices are NumPy's where the packed array is, else JAX's. The models'
`draw(n, key)` gives n exact draws, NumPy float64 whatever JAX's precision is.
"""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray


def check(name: str, value: Any, *shape: int | None, meaning: str = "one number a column") -> None:
    """Refuse what is not an array of floats of this shape (None: any size).

    What is neither array nor list passes: JAX builds Modules of axes, masks and placeholders.
    """
    listed = isinstance(value, list | tuple)
    if not listed and not hasattr(value, "shape"):
        return
    sizes: tuple[int, ...] = getattr(value, "shape", ())
    got = "a list; try `numpy.asarray(..., float)`" if listed else f"shape {sizes} of {value.dtype}"
    fits = len(sizes) == len(shape) and all(want in (None, size) for want, size in zip(shape, sizes, strict=True))
    if listed or not fits or not jnp.issubdtype(value.dtype, jnp.floating):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"`{name}` must be an array of floats of shape ({wanted}), {meaning}; got {got}.")


def check_packed(name: str, value: Any, dim: int | None, diagonal: bool = True) -> None:
    """Refuse what is not the packed upper triangle of a matrix of `dim` rows, with or without its diagonal."""
    size = None if dim is None else dim * (dim + 1) // 2 if diagonal else dim * (dim - 1) // 2
    part = "with" if diagonal else "without"
    check(name, value, size, meaning=f"an upper triangle {part} its diagonal, packed row by row, for {dim} columns")


def length(value: Any) -> int | None:
    """The number of columns that a vector of parameters is for; None for what is no array."""
    return getattr(value, "size", None)


def symmetric(packed: Float[Array, " t"], dim: int, diagonal: bool = True) -> Float[Array, "d d"]:
    """The symmetric matrix of a packed upper triangle; zero on its diagonal where the triangle has none."""
    rows, columns = np.triu_indices(dim, 0 if diagonal else 1)
    where = np.full((dim, dim), rows.size)
    where[rows, columns] = where[columns, rows] = np.arange(rows.size)
    return gathered(packed, where)


def gathered(packed: Float[Array, "*m t"], where: Any) -> Float[Array, "*m d d"]:
    """A matrix of entries of `packed`, zero where `where` points one beyond its end; one for each row of `packed`."""
    xp = packed.__array_namespace__()
    return xp.concat([packed, xp.zeros((*packed.shape[:-1], 1), packed.dtype)], axis=-1)[..., where]


def zeros(*shape: int) -> Any:
    """Parameters to start from: NumPy's, so that their precision does not depend on JAX's."""
    return np.zeros(shape)


def ones(*shape: int) -> Any:
    """As `zeros`."""
    return np.ones(shape)


def identity(dim: int) -> Any:
    """The packed identity matrix."""
    return np.eye(dim)[np.triu_indices(dim)]


def cholesky(precision: Any) -> Any:
    """The lower root of a precision, which must be positive definite."""
    precision = np.asarray(precision, float)
    lowest = np.linalg.eigvalsh(precision)[0]
    if not lowest > 0:
        raise ValueError(
            f"`precision` must be positive definite for a law of finite mass; got the eigenvalue {lowest:.3g}."
        )
    return np.linalg.cholesky(precision)


def generator(key: PRNGKeyArray) -> np.random.Generator:
    """NumPy's generator, seeded by a key of JAX."""
    return np.random.default_rng(np.asarray(jr.key_data(key)))
