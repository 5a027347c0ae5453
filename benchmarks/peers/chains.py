"""Chains of blackjax, ebmkit and torchebm, as their users write them, on the targets of the case `sampling`.

`chains(num_steps, turn)` gives all draws, (chain, step, d). blackjax's MALA is one jitted scan over steps of all
chains; the Langevin samplers of the other two are eager torch, without accept/reject.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 64
Numbers = dict[str, NDArray[np.float32]]


def numbers(target: str, seed: int) -> Numbers:
    """What a target is made of."""
    random = np.random.default_rng(seed)
    if target == "normal":
        root = np.eye(10) + 0.25 * random.normal(size=(10, 10))
        found = {"precision": np.linalg.inv(root @ root.T)}
    elif target == "two modes":
        found = {"modes": np.array([[-1.5, 0.0], [1.5, 1.0]]), "log_shares": np.log([0.3, 0.7])}
    else:
        found = {
            "first": random.normal(size=(10, WIDTH)) / np.sqrt(10),
            "second": random.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH),
            "last": random.normal(size=WIDTH) / np.sqrt(WIDTH),
        }
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def torch_energy(found: Numbers) -> Any:
    """The energy of a target, on rows."""
    import torch
    from torch.nn.functional import silu

    parts = {name: torch.as_tensor(value) for name, value in found.items()}
    if "precision" in parts:
        return lambda x: 0.5 * ((x @ parts["precision"]) * x).sum(-1)
    if "modes" in parts:
        squares = lambda x: ((x[:, None] - parts["modes"]) ** 2).sum(-1)  # noqa: E731
        return lambda x: -torch.logsumexp(parts["log_shares"] - 0.5 * squares(x), -1)
    return lambda x: 0.5 * (x * x).sum(-1) + silu(silu(x @ parts["first"]) @ parts["second"]) @ parts["last"]


class BlackjaxMala:
    name = "blackjax"
    needs = ("blackjax",)

    def __init__(self, log_q: Any, step_size: float, x: NDArray, seed: int):
        import blackjax
        import jax

        mala = blackjax.mala(log_q, step_size)

        def run(states: Any, key: Any, num_steps: int) -> Any:
            def step(states: Any, key: Any) -> Any:
                states, info = jax.vmap(mala.step)(jax.random.split(key, len(x)), states)
                return states, (states, info)

            return jax.lax.scan(step, states, jax.random.split(key, num_steps))[1]

        self.run, self.key = jax.jit(run, static_argnums=2), jax.random.key(seed)
        self.states = jax.jit(jax.vmap(mala.init))(x)

    def __call__(self, num_steps: int, turn: int) -> Any:
        import jax

        states, _ = jax.block_until_ready(self.run(self.states, jax.random.fold_in(self.key, turn), num_steps))
        return states.position.swapaxes(0, 1)


class EbmkitLangevin:
    name = "ebmkit"
    needs = ("ebm", "torch")

    def __init__(self, found: Numbers, step_size: float, x: NDArray, seed: int):
        import ebm
        import torch

        torch.manual_seed(seed)
        self.energy, self.x = torch_energy(found), torch.as_tensor(x)
        self.sampler = ebm.LangevinDynamics(step_size)

    def __call__(self, num_steps: int, turn: int) -> Any:
        draws = self.sampler.sample(self.energy, self.x, steps=num_steps, return_trajectory=True)
        return draws[1:].swapaxes(0, 1).numpy()


class TorchebmLangevin:
    name = "torchebm"
    needs = ("torchebm", "torch")

    def __init__(self, found: Numbers, step_size: float, x: NDArray, seed: int):
        import torch
        from torchebm.core import BaseModel
        from torchebm.samplers import LangevinDynamics

        torch.manual_seed(seed)
        energy = torch_energy(found)

        class Energy(BaseModel):
            def forward(self, x):
                return energy(x)

        self.x, self.sampler = torch.as_tensor(x), LangevinDynamics(Energy(), step_size)

    def __call__(self, num_steps: int, turn: int) -> Any:
        return self.sampler.sample(self.x, n_steps=num_steps, return_trajectory=True).numpy()


LANGEVIN = (EbmkitLangevin, TorchebmLangevin)
