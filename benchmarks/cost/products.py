r"""The matrix products inside a program, and a loop of them alone: the time below which the program cannot go.

A program is traced, not run. Every `dot_general` that it needs counts as often as the loops around it run. Left out is
what is batched over rows, such as the rotation of each row by the axes of its own pattern: that is a small product for
each row, not a matrix product.

A product of $(B, m, k)$ and $(B, k, n)$ has $2Bmkn$ floating-point operations.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.extend.core import Jaxpr, jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr


class Product(NamedTuple):
    """A `dot_general`: shapes, which axes are summed over and which are batched, types."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    axes: Any
    left_type: Any
    right_type: Any
    precision: Any
    result_type: Any

    @property
    def operations(self) -> int:
        (summed, _), (_, batched) = self.axes
        fixed = {*self.axes[0][1], *batched}
        free = (n for axis, n in enumerate(self.right) if axis not in fixed)
        return 2 * math.prod(self.left) * math.prod(free) if summed else 0

    def __call__(self, left: Any, right: Any) -> Any:
        return jax.lax.dot_general(left, right, self.axes, self.precision, self.result_type)

    def operands(self, key: Any) -> tuple[Any, Any]:
        """Standard normal numbers of the shapes and types."""
        left, right = jr.split(key)
        return jr.normal(left, self.left, self.left_type), jr.normal(right, self.right, self.right_type)


Products = dict[int, list[Product]]  # by how often they are done


def products(function: Callable, *args: Any, num_rows: int) -> Products:
    """The products in a program of `num_rows` rows."""
    closed = jax.make_jaxpr(function)(*args)
    found: Products = defaultdict(list)
    for often, product in _found(dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))[0], 1):
        if product.operations and not any(product.left[axis] == num_rows for axis in product.axes[1][0]):
            found[often].append(product)
    return dict(found)


def repeated(found: Products, times: int) -> Products:
    """Those of a program that is run so many times."""
    return {times * often: several for often, several in found.items()}


def operations(found: Products) -> int:
    """Floating-point operations of all of them."""
    return sum(often * product.operations for often, several in found.items() for product in several)


def loop(found: Products, key: Any) -> Callable[[], Any]:
    """The products alone, in one compiled program; those that are done equally often share a loop.

    Operands pass each turn behind a barrier, with the last results: no product can be moved out of its loop.
    """
    plan = tuple((often, tuple(several)) for often, several in found.items())
    keys = (jr.fold_in(key, i) for i in range(sum(map(len, found.values()))))
    return partial(_loop, plan, [[product.operands(next(keys)) for product in several] for _, several in plan])


@partial(jax.jit, static_argnums=0)
def _loop(plan: tuple[tuple[int, tuple[Product, ...]], ...], operands: list[list[tuple[Any, Any]]]) -> Any:
    def turns(often: int, several: tuple[Product, ...], pairs: list[tuple[Any, Any]]) -> Any:
        def turn(carry: Any, _: None) -> tuple[Any, None]:
            pairs, _ = jax.lax.optimization_barrier(carry)
            return (pairs, [product(*pair) for product, pair in zip(several, pairs, strict=True)]), None

        results = [jnp.zeros_like(product(*pair)) for product, pair in zip(several, pairs, strict=True)]
        return jax.lax.scan(turn, (pairs, results), length=often)[0][1]

    return [turns(often, several, pairs) for (often, several), pairs in zip(plan, operands, strict=True)]


def _found(jaxpr: Jaxpr, times: int) -> Iterator[tuple[int, Product]]:
    """Each product that stands in a program, with how often it is done."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield times, _product(equation)
        often = times * equation.params["length"] if equation.primitive.name == "scan" else times
        for inner in jaxprs_in_params(equation.params):
            yield from _found(getattr(inner, "jaxpr", inner), often)


def _product(equation: Any) -> Product:
    left, right = (v.aval for v in equation.invars)
    precision, result = equation.params["precision"], equation.params["preferred_element_type"]
    axes = equation.params["dimension_numbers"]
    return Product(left.shape, right.shape, axes, left.dtype, right.dtype, precision, result)
