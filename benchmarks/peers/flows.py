r"""Normalising flows: $x = T_\theta(z)$, $z \sim N(0, I)$, $\log p(x) = \log N(z; 0, I) - \log|\det T_\theta'(z)|$.

Both are trained alike, on standardised columns: maximum likelihood by Adam at 1e-3 on batches of 512 with the gradient
clipped to norm 5, until the clock stops them; the weights kept are those with the best likelihood of a tenth of the
rows, held out by seed and looked at after each epoch. On a column with ties their density has no bound.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BATCH, RATE, CLIP, BLOCK = 512, 1e-3, 5.0, 4096


@dataclass
class ZukoSpline:
    """zuko's neural spline flow (NSF): 5 autoregressive transforms, 128-128, 8 bins on [-5, 5]."""

    seconds: float = 120.0
    seed: int = 0
    name = "zuko NSF"
    needs = ("zuko", "torch")

    def fit(self, x: NDArray) -> ZukoSpline:
        import torch
        from zuko.flows import NSF

        end = time.perf_counter() + self.seconds
        torch.manual_seed(self.seed)
        self.scaled = Standard(x)
        train, held_out = (torch.as_tensor(part) for part in _parts(self.scaled(x), self.seed))
        self.flow = NSF(x.shape[1], transforms=5, hidden_features=(128, 128))
        optimizer = torch.optim.Adam(self.flow.parameters(), lr=RATE)
        best, self.epochs = (np.inf, self.flow.state_dict()), 0
        while time.perf_counter() < end:
            for batch in torch.randperm(len(train)).split(min(BATCH, len(train))):
                loss = -self.flow().log_prob(train[batch]).mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.flow.parameters(), CLIP)
                optimizer.step()
                if time.perf_counter() > end:
                    break
            self.epochs += 1
            held = -float(self._log_prob(held_out).mean())
            if held < best[0]:
                best = held, {name: value.clone() for name, value in self.flow.state_dict().items()}
        self.flow.load_state_dict(best[1])
        return self

    def score_samples(self, x: NDArray) -> NDArray:
        import torch

        return self._log_prob(torch.as_tensor(self.scaled(x))).double().numpy() + self.scaled.log_slope

    def sample(self, n: int, seed: int) -> NDArray:
        import torch

        torch.manual_seed(seed)
        with torch.no_grad():
            return self.scaled.back(self.flow().sample((n,)).double().numpy())

    def _log_prob(self, z):
        import torch

        with torch.no_grad():
            return torch.cat([self.flow().log_prob(block) for block in z.split(BLOCK)])


@dataclass
class FlowjaxSpline:
    """flowjax's masked autoregressive flow of rational quadratic splines: 5 layers, 128-128, 8 knots on [-5, 5]."""

    seconds: float = 120.0
    seed: int = 0
    name = "flowjax MAF of splines"
    needs = ("flowjax",)

    def fit(self, x: NDArray) -> FlowjaxSpline:
        import equinox as eqx
        import jax
        import jax.numpy as jnp
        import jax.random as jr
        import optax
        import paramax
        from flowjax.bijections import RationalQuadraticSpline
        from flowjax.distributions import Normal
        from flowjax.flows import masked_autoregressive_flow

        end = time.perf_counter() + self.seconds
        self.scaled = Standard(x)
        train, held_out = map(jnp.asarray, _parts(self.scaled(x), self.seed))
        key, shuffled = jr.split(jr.key(self.seed))
        spline = RationalQuadraticSpline(knots=8, interval=5)
        base = Normal(jnp.zeros(x.shape[1]))
        flow = masked_autoregressive_flow(
            key, base_dist=base, transformer=spline, flow_layers=5, nn_width=128, nn_depth=2
        )
        leaf = {"is_leaf": lambda node: isinstance(node, paramax.NonTrainable)}
        weights, fixed = eqx.partition(flow, eqx.is_inexact_array, **leaf)
        optimizer = optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(RATE))

        def likelihood(weights, rows):
            return paramax.unwrap(eqx.combine(weights, fixed)).log_prob(rows)

        @jax.jit
        def descend(weights, state, batches):  # a step a batch
            def step(carry, rows):
                gradient = jax.grad(lambda w: -likelihood(w, rows).mean())(carry[0])
                update, state = optimizer.update(gradient, carry[1], carry[0])
                return (optax.apply_updates(carry[0], update), state), None

            return jax.lax.scan(step, (weights, state), batches)[0]

        self._log_prob = jax.jit(likelihood)
        batch = min(BATCH, len(train))
        several = min(8, len(train) // batch)  # steps of a dispatch; what does not fill one waits for the next epoch
        state, best, self.epochs = optimizer.init(weights), (-np.inf, weights), 0
        while time.perf_counter() < end:
            order = jr.permutation(jr.fold_in(shuffled, self.epochs), len(train))
            order = order[: len(train) // (several * batch) * several * batch]
            for few in train[order].reshape(-1, several, batch, x.shape[1]):
                weights, state = descend(weights, state, few)
                if time.perf_counter() > end:
                    break
            self.epochs += 1
            held = float(self._log_prob(weights, held_out).mean())
            if held > best[0]:
                best = held, weights
        self.weights = best[1]
        self.draw = lambda key, n: paramax.unwrap(eqx.combine(self.weights, fixed)).sample(key, (n,))
        return self

    def score_samples(self, x: NDArray) -> NDArray:
        z = self.scaled(x)
        log_prob = [self._log_prob(self.weights, z[i : i + BLOCK]) for i in range(0, len(z), BLOCK)]
        return np.concatenate(log_prob).astype(float) + self.scaled.log_slope

    def sample(self, n: int, seed: int) -> NDArray:
        import jax.random as jr

        return self.scaled.back(np.asarray(self.draw(jr.key(seed), n), float))


FLOWS = (ZukoSpline, FlowjaxSpline)


class Standard:
    """Columns less their mean, over their standard deviation, in single precision; `log_slope` is of that map."""

    def __init__(self, x: NDArray):
        self.mean, self.scale = x.mean(0), x.std(0)
        self.log_slope = -float(np.log(self.scale).sum())

    def __call__(self, x: NDArray) -> NDArray:
        return ((x - self.mean) / self.scale).astype(np.float32)

    def back(self, z: NDArray) -> NDArray:
        return self.mean + self.scale * z


def _parts(z: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    order = np.random.default_rng(seed).permutation(len(z))
    return z[order[len(z) // 10 :]], z[order[: len(z) // 10]]
