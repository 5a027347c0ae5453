r"""The steps of a descent, spread over the devices of several processes, with the same result for 1, 2, 4 and 8.

The gradient of a batch is a mean over `NUM_BLOCKS` blocks of its rows. Float sums hang on their order, so the blocks
are always the same, each is summed by itself, and they are put together pairwise,

$$g = \tfrac18\bigl[\bigl((g_0 + g_1) + (g_2 + g_3)\bigr) + \bigl((g_4 + g_5) + (g_6 + g_7)\bigr)\bigr].$$

A device has neighbouring blocks and holds the others for zero: it sums its branch of the tree, and the rest is sums of
two between devices, which come out alike on both as $a + b = b + a$. All else of a step is done by every device.

Processes run the same program on the same rows: outside the steps everything is local. `agreed` makes sure of that.

References:
    Thakur, Rabenseifner & Gropp (2005), Optimization of collective communication operations in MPICH, Section 4.1,
    recursive doubling.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from ptilde._validate import DataError

NUM_BLOCKS = 8
_AXIS = "devices"
_mesh: Mesh | None = None


def start() -> None:
    """From now on descents are spread over the devices of all processes; `jax.distributed` is initialised.

    Raises:
        DataError: if the blocks of a batch cannot be shared out evenly.
    """
    global _mesh
    if NUM_BLOCKS % jax.device_count():
        raise DataError(
            f"`--processes` must make 1, 2, 4 or 8 devices in all; got {jax.device_count()} devices of "
            f"{jax.process_count()} processes."
        )
    _mesh = Mesh(np.array(jax.devices()), (_AXIS,))


def active() -> bool:
    """Whether descents are spread, be it over one process."""
    return _mesh is not None


def speaks() -> bool:
    """Whether this process is the one that writes files and words: the first, or the only one."""
    return _mesh is None or jax.process_index() == 0


def first(number: int) -> int:
    """The number that the first process has: what hangs on the clock is decided there."""
    return number if _mesh is None else int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def agreed(what: str, *values: Any) -> None:
    """Make sure that all processes have the same values, to the last bit.

    Raises:
        DataError: if one has others.
    """
    if _mesh is None or jax.process_count() == 1:
        return
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(values):
        total.update(np.ascontiguousarray(_plain(leaf)).tobytes())
    digests = multihost_utils.process_allgather(np.frombuffer(total.digest(), np.uint8))
    other = [i for i, digest in enumerate(digests) if (digest != digests[0]).any()]
    if other:
        raise DataError(
            f"all processes must have {what}, to the last bit; process {other[0]} of {len(digests)} has others than "
            "process 0. Give each the same files and options, on machines of one kind."
        )


def everywhere(program: Callable, *arguments: Any) -> Any:
    """`program(*arguments)`: what a compiled program returns that is the same on all devices.

    Arrays are local, in and out. If descents are spread, it is also given the `blocks` of each device.
    """
    if _mesh is None:
        return program(*arguments)
    arrays, rest = eqx.partition(arguments, eqx.is_array)
    returned = program(*eqx.combine(jax.tree.map(_replicated, arrays), rest), blocks=_blocks())
    return jax.tree.map(lambda a: a.addressable_data(0), returned)


def on_each_device(program: Callable, blocks: Array, *arguments: Any) -> Any:
    """`program(mine, *arguments)`, run by each device; inside, `gradient` and `apart` may be called."""
    arrays, rest = eqx.partition(arguments, eqx.is_array)
    mapped = jax.shard_map(
        lambda blocks, arrays: program(blocks[0], *eqx.combine(arrays, rest)),
        mesh=_mesh,
        in_specs=(PartitionSpec(_AXIS), PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    return mapped(blocks, arrays)


def gradient(mine: Array, loss: Callable[[PyTree, PyTree], tuple[Array, Array]], params: PyTree, points: PyTree) -> Any:
    """As `jax.value_and_grad(loss, has_aux=True)(params, points)` for a loss that is a mean over points.

    The program is the same for any number of devices, but for the last sums: another one would round otherwise. So the
    gradient becomes a vector at once: else the sums would have a say in how matrices lie in memory, and that in how
    their products are rounded.

    Args:
        mine: the first block of this device, and the first that is not.
        loss: (params, points) ↦ (mean, means of terms).
        params: where the gradient is taken.
        points: with a leading axis of all points.
    """
    blocks = jax.tree.map(lambda a: a.reshape(NUM_BLOCKS, len(a) // NUM_BLOCKS, *a.shape[1:]), points)
    of = jax.value_and_grad(loss, has_aux=True)
    block = lambda i: jax.tree.map(lambda a: a[i], blocks)  # noqa: E731
    flat, shaped = ravel_pytree(
        jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(of, params, block(0)))
    )
    put = lambda i, total: total.at[i].set(ravel_pytree(of(params, block(i)))[0])  # noqa: E731
    total = jax.lax.fori_loop(mine[0], mine[1], put, jnp.zeros((NUM_BLOCKS, flat.size), flat.dtype))
    while len(total) > 1:
        total = total[0::2] + total[1::2]
    away, size = 1, jax.lax.axis_size(_AXIS)
    while away < size:
        total = total + jax.lax.ppermute(total, _AXIS, [(i, i ^ away) for i in range(size)])
        away *= 2
    return shaped(total[0] / NUM_BLOCKS)


def apart(mine: Array, function: Callable, *arguments: Any) -> Any:
    """`function(*arguments)`, as a computation of its own.

    A compiler that melts it into what stands around it rounds it otherwise there, and what stands around it hangs on
    the number of devices. So it becomes one branch of two; that the other is never taken is known only when it runs.
    """
    like = jax.eval_shape(function, *arguments)
    never = lambda *_: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)  # noqa: E731
    return jax.lax.cond(mine[0] >= 0, lambda *a: function(*a), never, *arguments)  # a bound method has no hash


def _blocks() -> Array:
    """For each device its first block, and the first that is not its own."""
    assert _mesh is not None
    first = np.arange(0, NUM_BLOCKS, NUM_BLOCKS // _mesh.size, dtype=np.int32)
    ends = np.stack([first, first + NUM_BLOCKS // _mesh.size], axis=1)
    sharding = NamedSharding(_mesh, PartitionSpec(_AXIS))
    return jax.make_array_from_callback(ends.shape, sharding, lambda index: ends[index])


def _replicated(array: Array) -> Array:
    """The array on all devices."""
    assert _mesh is not None
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_replicated(jax.random.key_data(array)))
    parts = [jax.device_put(array, device) for device in _mesh.local_devices]
    sharding = NamedSharding(_mesh, PartitionSpec())
    return jax.make_array_from_single_device_arrays(np.shape(array), sharding, parts)


def _plain(leaf: Any) -> Any:
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)
