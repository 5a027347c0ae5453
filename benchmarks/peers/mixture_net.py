"""A mixture-density net by maximum likelihood: P(atom | x) by one net, and a mixture of lognormals by another.

Each net has two hidden layers of 64, is trained by AdamW at 1e-3 on batches of 256, and keeps the weights that were
best on a tenth of the rows, held out, until 15 epochs bring no gain. A component's standard deviation of the logs is at
least .001, so that the likelihood is bounded: on an atom that was not declared it would grow without limit.

References:
    Bishop (1994), Mixture density networks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.regressors import HELD_OUT, Hurdle, features, lognormals

WIDTH, BATCH, RATE, DECAY, PATIENCE, EPOCHS = 64, 256, 1e-3, 1e-2, 15, 200
COMPONENTS, LEAST_SD = 8, 1e-3


@dataclass
class MixtureNet:
    """`atoms` beside zero are those that `Schema.infer` found in the fitted rows."""

    seed: int = 0
    atoms: tuple[float, ...] = (0.0,)
    needs = ("torch",)

    @property
    def name(self) -> str:
        return "mixture-density net" + (", atoms declared" if len(self.atoms) > 1 else "")

    def fit(self, X: Any, y: NDArray) -> MixtureNet:
        import torch
        from torch.nn.functional import cross_entropy

        torch.manual_seed(self.seed)
        torch.set_num_threads(1)  # nets as small as these gain nothing from more
        self.features = features(sparse=False)
        z = torch.as_tensor(np.asarray(self.features.fit_transform(X), np.float32))
        held = torch.as_tensor(np.random.default_rng(self.seed).random(len(y)) < HELD_OUT)
        state = np.full(len(y), len(self.atoms))
        for k, atom in enumerate(self.atoms):
            state[np.isclose(y, atom)] = k
        shares = np.bincount(state, minlength=len(self.atoms) + 1) / len(y)
        self.states = _trained(z, torch.as_tensor(state), held, np.log(shares + 1e-9), cross_entropy)
        body = torch.as_tensor(state == len(self.atoms))
        logs = np.log(y[body.numpy()])
        self.centre, self.scale = logs.mean(), logs.std()
        target = torch.as_tensor((logs - self.centre) / self.scale, dtype=torch.float32)
        places = np.quantile(target.numpy(), (np.arange(COMPONENTS) + 0.5) / COMPONENTS)
        start = np.concatenate([np.zeros(COMPONENTS), places, np.full(COMPONENTS, -0.5)])
        self.body = _trained(z[body], target, held[body], start, partial(_mixture_loss, LEAST_SD / self.scale))
        return self

    def law(self, X: Any) -> Hurdle:
        import torch

        z = torch.as_tensor(np.asarray(self.features.transform(X), np.float32))
        with torch.no_grad():
            shares = torch.softmax(self.states(z).double(), 1)[:, :-1].numpy()
            logits, mean, log_sd = self.body(z).double().chunk(3, 1)
            share = torch.softmax(logits, 1).numpy()
            mean = mean.numpy() * self.scale + self.centre
            sd = log_sd.exp().numpy() * self.scale + LEAST_SD
        expected = np.sum(share * np.exp(mean + sd**2 / 2), 1)
        return Hurdle(np.array(self.atoms), shares, partial(lognormals, share, mean, sd), expected)


def _mixture_loss(least: float, out: Any, target: Any) -> Any:
    import torch

    logits, mean, log_sd = out.chunk(3, 1)
    sd = log_sd.exp() + least
    parts = torch.log_softmax(logits, 1) - torch.log(sd) - 0.5 * ((target[:, None] - mean) / sd) ** 2
    return -torch.logsumexp(parts, 1).mean()


def _trained(z: Any, target: Any, held: Any, start: NDArray, loss: Callable[[Any, Any], Any]) -> Any:
    """A net whose outputs begin at `start`, for all rows."""
    import torch
    from torch.nn import Linear, Sequential, SiLU

    net = Sequential(Linear(z.shape[1], WIDTH), SiLU(), Linear(WIDTH, WIDTH), SiLU(), Linear(WIDTH, len(start)))
    with torch.no_grad():
        net[-1].weight.mul_(0.1)
        net[-1].bias.copy_(torch.as_tensor(start, dtype=torch.float32))
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    rows, targets = z[~held], target[~held]
    best, kept, since = np.inf, copy.deepcopy(net.state_dict()), 0
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(BATCH):
            optimizer.zero_grad()
            loss(net(rows[batch]), targets[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            value = float(loss(net(z[held]), target[held]))
        since += 1
        if value < best:
            best, kept, since = value, copy.deepcopy(net.state_dict()), 0
        if since >= PATIENCE:
            break
    net.load_state_dict(kept)
    return net
