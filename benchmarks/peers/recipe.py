r"""The recipe of TabDDPM and TabSyn: make each column about N(0, 1), fit a small diffusion network, map draws back.

The transform is TabDDPM's, scikit-learn's QuantileTransformer to the normal law (`Quantile`), or log(1 + x),
standardised (`Log1p`). The network is TabSyn's kind of diffusion: a denoiser $D(x, \sigma)$ that minimises
$w(\sigma)\,\|D(x + \sigma\varepsilon, \sigma) - x\|^2$ over log-normal $\sigma$, drawn from by Heun's method.

References:
    Kotelnikov et al. (2023), TabDDPM: modelling tabular data with diffusion models.
    Zhang et al. (2024), Mixed-type tabular data synthesis with score-based diffusion in latent space.
    Karras et al. (2022), Elucidating the design space of diffusion-based generative models, Table 1.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler

WIDTH, BATCH, RATE, DECAY = 256, 1024, 1e-3, 0.998
LEAST, MOST, BEND, LEVELS = 0.002, 80.0, 7.0, 50


class Denoiser(eqx.Module):
    r"""$D(x, \sigma) = c_{skip}\,x + c_{out}\,F(c_{in}\,x, \tfrac14\log\sigma)$ for data of unit variance."""

    network: eqx.nn.MLP

    def __call__(self, x, sigma):
        variance = 1 + sigma**2
        inputs = jnp.append(x / jnp.sqrt(variance), jnp.log(sigma) / 4)
        return x / variance + sigma / jnp.sqrt(variance) * self.network(inputs)


def _loss(model: Denoiser, rows, key):
    level, noise = jr.split(key)
    sigma = jnp.exp(1.2 * jr.normal(level, (len(rows),)) - 1.2)
    noisy = rows + sigma[:, None] * jr.normal(noise, rows.shape)
    error = jnp.sum((jax.vmap(model)(noisy, sigma) - rows) ** 2, axis=1)
    return jnp.mean((1 + sigma**2) / sigma**2 * error)


OPTIMIZER = optax.inject_hyperparams(optax.adamw)(learning_rate=RATE, weight_decay=1e-5)


@eqx.filter_jit
def _steps(model, average, state, rows, key):
    """A hundred steps, and the running average of the weights after each."""
    weights, fixed = eqx.partition(model, eqx.is_array)

    def step(carry, key):
        weights, average, state = carry
        at, noise = jr.split(key)
        batch = rows[jr.randint(at, (BATCH,), 0, len(rows))]
        gradient = eqx.filter_grad(lambda w: _loss(eqx.combine(w, fixed), batch, noise))(weights)
        update, state = OPTIMIZER.update(gradient, state, weights)
        weights = optax.apply_updates(weights, update)
        return (weights, optax.incremental_update(weights, average, 1 - DECAY), state), None

    (weights, average, state), _ = jax.lax.scan(step, (weights, average, state), jr.split(key, 100))
    return eqx.combine(weights, fixed), average, state


@eqx.filter_jit
def _draw(model, key, shape):
    """Heun's method along dx/dσ = (x - D)/σ over Karras's levels."""
    grid = jnp.linspace(MOST ** (1 / BEND), LEAST ** (1 / BEND), LEVELS) ** BEND
    slope = jax.vmap(lambda x, sigma: (x - model(x, sigma)) / sigma, (0, None))

    def step(x, ends):
        here, there = ends
        first = slope(x, here)
        return x + (there - here) / 2 * (first + slope(x + (there - here) * first, there)), None

    x, _ = jax.lax.scan(step, MOST * jr.normal(key, shape), (grid[:-1], grid[1:]))
    return jax.vmap(model, (0, None))(x, grid[-1])


@dataclass
class Quantile:
    """Quantile transform + diffusion: 3 hidden layers of 256, AdamW from 1e-3 to 0, batch 1,024, averaged weights."""

    seconds: float = 60.0
    seed: int = 0
    name = "TabDDPM/TabSyn recipe (quantiles)"

    def fit(self, x: NDArray) -> Quantile:
        start = time.perf_counter()
        self.transform = self._transform(len(x)).fit(x)
        rows = jnp.asarray(self.transform.transform(x), jnp.float32)
        network = eqx.nn.MLP(x.shape[1] + 1, x.shape[1], WIDTH, 3, jax.nn.silu, key=jr.key(self.seed))
        model, self.num_steps = Denoiser(network), 0
        weights, fixed = eqx.partition(model, eqx.is_array)
        average, state = weights, OPTIMIZER.init(weights)
        while (passed := (time.perf_counter() - start) / self.seconds) < 1:
            state.hyperparams["learning_rate"] = jnp.asarray(RATE * (1 - passed))
            key = jr.fold_in(jr.key(self.seed), self.num_steps)
            model, average, state = jax.block_until_ready(_steps(model, average, state, rows, key))
            self.num_steps += 100
        self.model = eqx.combine(average, fixed)
        return self

    def sample(self, n: int, seed: int) -> NDArray:
        shape = n, self.transform.n_features_in_
        return self.transform.inverse_transform(np.asarray(_draw(self.model, jr.key(seed), shape), float))

    def _transform(self, n: int):
        return QuantileTransformer(
            n_quantiles=max(min(n // 30, 1000), 10), output_distribution="normal", subsample=None
        )


class Log1p(Quantile):
    """The same on log(1 + x), standardised."""

    name = "the same diffusion on log1p"

    def _transform(self, n: int):
        return make_pipeline(FunctionTransformer(np.log1p, np.expm1, check_inverse=False), StandardScaler())


RECIPE = (Quantile, Log1p)
