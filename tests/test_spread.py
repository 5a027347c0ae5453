"""Steps spread over devices or processes: the same gradient, in an order of sums that does not hang on their number."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.sharding import Mesh
from spread_problem import fitted

from ptilde.fit import spread
from ptilde.launch.supervisor import supervise

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.ranks import kills  # noqa: E402

HERE = str(Path(__file__).parent)


def over(num_devices):
    return Mesh(np.array(jax.devices()[:num_devices]), (spread._AXIS,))


def test_the_gradient_in_blocks_is_the_gradient(monkeypatch):
    monkeypatch.setattr(spread, "_mesh", over(1))

    @jax.jit
    def in_blocks(blocks, weights, points):
        return spread.on_each_device(lambda mine, *a: spread.gradient(mine, loss, *a), blocks, weights, points)

    def loss(weights, points):
        each = jnp.cos(points @ weights)
        return jnp.mean(each), jnp.stack([jnp.mean(each**2)])

    weights, points = jr.normal(jr.key(0), (7,)), jr.normal(jr.key(1), (64, 7))
    blocks = jnp.array([[0, 8]], jnp.int32)
    for found, exact in zip(
        jax.tree.leaves(in_blocks(blocks, weights, points)),
        jax.tree.leaves(jax.value_and_grad(loss, has_aux=True)(weights, points)),
        strict=True,
    ):
        np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-7)
    half = in_blocks(jnp.array([[0, 4]], jnp.int32), weights, points)[1]  # of the other device the rest
    np.testing.assert_allclose(half, 0.5 * jax.grad(loss, has_aux=True)(weights, points[:32])[0], rtol=1e-5, atol=1e-7)


def test_a_spread_descent_takes_the_steps_of_one_that_is_not(monkeypatch):
    alone = fitted(100)
    monkeypatch.setattr(spread, "_mesh", over(1))
    np.testing.assert_allclose(fitted(100), alone, atol=1e-6)
    assert np.abs(fitted(100, seed=1) - alone).max() > 1e-3


def test_a_number_of_devices_that_cannot_share_is_refused_and_nothing_is_spread(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(ValueError, match=r"must make 1, 2, 4 or 8 devices in all; got 3 devices"):
        spread.start()
    assert not spread.active() and spread.speaks() and spread.first(7) == 7


def test_the_weights_are_the_same_for_2_4_and_8_devices_to_the_last_bit(tmp_path):
    code = textwrap.dedent("""
        import sys
        sys.path.insert(0, sys.argv[2])
        import jax, numpy as np
        from jax.sharding import Mesh
        from spread_problem import fitted
        from ptilde.fit import spread
        found = {0: fitted()}
        for num in (2, 4, 8):
            spread._mesh = Mesh(np.array(jax.devices()[:num]), (spread._AXIS,))
            found[num] = fitted()
        np.savez(sys.argv[1], **{str(num): a for num, a in found.items()})
    """)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    path = tmp_path / "found.npz"
    subprocess.run([sys.executable, "-c", code, path, HERE], check=True, env=os.environ | {"XLA_FLAGS": flags})
    found = np.load(path)
    np.testing.assert_array_equal(found["4"], found["2"])
    np.testing.assert_array_equal(found["8"], found["2"])
    assert not np.array_equal(found["0"], found["2"])  # the sibling: another order of sums has other bits
    np.testing.assert_allclose(found["0"], found["2"], atol=1e-5)


RANK = """
import hashlib, sys
from pathlib import Path
from ptilde.launch.processes import Place, joined

place, folder = Place.told(), Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
with joined(lambda error: 2):
    import jax.random as jr, numpy as np
    from ptilde.fit import spread
    from spread_problem import fitted, x
    assert spread.speaks() == (place.rank == 0) and spread.first(place.rank + 5) == 5
    (folder / str(place.rank)).write_text(hashlib.sha256(fitted().tobytes()).hexdigest())
    spread.agreed("the same", jr.key(0), x, 1.0)
    if len(sys.argv) > 3:
        spread.agreed("the same number", np.float32(place.rank))
"""


def test_processes_end_in_the_same_weights_and_one_that_differs_is_found_out(tmp_path):
    command = lambda going_on: [sys.executable, "-c", RANK, str(tmp_path), HERE, *more]  # noqa: E731
    said, hashes = [], set()
    for num, more in ((1, []), (2, ["differ"])):
        code = supervise(command, num, tmp_path / "checkpoint", False, said.append)
        assert (code, said) == (2 if more else 0, [])
        hashes |= {(tmp_path / str(rank)).read_text() for rank in range(num)}
    assert len(hashes) == 1


@pytest.mark.slow
def test_a_fit_that_loses_either_rank_ends_in_the_weights_of_one_that_loses_none():
    counts = kills(2)
    assert counts["identical"] == counts["kills"] and counts["of rank"] == [1, 1]
