"""A small network, fitted by least squares: what processes fit in tests."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ptilde.fit import Data, Descent, descend


class Network(eqx.Module):
    first: jax.Array
    last: jax.Array

    def __call__(self, x):
        return self.last @ jnp.tanh(self.first @ x)


class Squares(eqx.Module):
    separate = False

    def num_uniforms(self, rows):
        return 1

    def __call__(self, model, rows, u):
        return self.mean(model, self.points(rows, u))

    def points(self, rows, u):
        return rows[0], rows[1] + 0.1 * (u[:, 0] - jnp.mean(u))  # all rows are needed for this

    def mean(self, model, points):
        loss = jnp.mean((jax.vmap(model)(points[0]) - points[1]) ** 2)
        return loss, loss[None]


rng = np.random.default_rng(0)
x = rng.normal(size=(300, 5)).astype(np.float32)
data = Data.of((x, np.sin(x[:, 0]) * x[:, 1]), np.ones(300))
start = Network(*(jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32) for shape in ((25, 5), (25,))))


def fitted(num_steps=200, seed=0):
    plan = Descent(512, num_steps, 0.01, 0.1)
    model = descend(Squares(), start, data, None, plan, jr.key(seed)).model
    return np.concatenate([np.asarray(a).ravel() for a in jax.tree.leaves(model)])
