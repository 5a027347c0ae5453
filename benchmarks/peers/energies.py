r"""Energies $p \propto e^{-E}$ and their kin from ebmkit and torchebm, trained until a density is near or time is up.

Neither package has a normalised density in one pass but ebmkit's flow, so theirs is obtained here, in two dimensions:

* by quadrature: $\log p = -E - \log\int e^{-E}$, the integral a sum over a fine grid of the plane;
* by the flow of an ordinary differential equation $\dot x = v(x, t)$ from the data to a normal law,
  $\log p(x) = \log N(x(T)) + \int \nabla\cdot v\,dt$, with 50 steps of Runge and Kutta's fourth order and the exact
  divergence (ebmkit's own `pf_ode_log_likelihood` is Euler's method with Hutchinson's estimate; it is less accurate).

All are trained on standardised columns by Adam at 1e-3 on batches of 512; densities are those of an exponential average
of the weights (0.995). Looking at the density is not counted in `trained`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.flows import Standard

BATCH, RATE, AVERAGE = 512, 1e-3, 0.995
GRID, REACH, STEPS = 601, 4.0, 50  # points a side, and half a side in standard deviations; steps of the ODE


class Energy:
    """A module and its loss, descended in stretches that grow by half; after each, `enough(self)` is asked."""

    def __init__(self, seconds: float, seed: int, enough: Callable[[Any], bool]):
        self.seconds, self.seed, self.enough = seconds, seed, enough
        self.trained, self.steps = 0.0, 0

    def fit(self, x: NDArray) -> Energy:
        import torch
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        torch.manual_seed(self.seed)
        self.scaled = Standard(x)
        rows = torch.as_tensor(self.scaled(x))
        module, loss = self._build()
        averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))
        learnt = [*module.parameters(), *(loss.parameters() if isinstance(loss, torch.nn.Module) else ())]
        optimizer = torch.optim.Adam(list(dict.fromkeys(learnt)), lr=RATE)
        stretch = 250
        while self.trained < self.seconds:
            start = time.perf_counter()
            for _ in range(stretch):
                optimizer.zero_grad()
                self._value(loss, module, rows[torch.randint(len(rows), (BATCH,))]).backward()
                optimizer.step()
                averaged.update_parameters(module)
                self.steps += 1
                if self.trained + time.perf_counter() - start > self.seconds:
                    break
            self.trained += time.perf_counter() - start
            self.module, stretch = averaged.module, self.steps // 2
            if self.enough(self):
                break
        return self

    def score_samples(self, x: NDArray) -> NDArray:
        import torch

        z = torch.as_tensor(self.scaled(x))
        return self._log_prob(z).detach().double().numpy() + self.scaled.log_slope

    def _value(self, loss: Any, module: Any, rows: Any) -> Any:
        return loss(module, rows).loss


class EbmkitLevels(Energy):
    """ebmkit: denoising score matching at 50 levels, by the probability-flow ODE."""

    name = "ebmkit, many-level denoising; ODE"
    needs = ("ebm", "torch")
    least, most = 0.01, 20.0

    def _build(self):
        import ebm

        levels = ebm.losses.score_matching.geometric_sigmas(self.most, self.least, 50)
        return ebm.nets.NoiseConditionalMLPEnergy(2, (128, 128)), ebm.MultiSigmaDenoisingScoreMatching(levels)

    def _log_prob(self, z):
        import torch

        def velocity(x, log_sigma):  # dx / d log σ = σ² ∇E
            sigma = torch.exp(log_sigma)
            (slope,) = torch.autograd.grad(self.module(x, sigma.expand(len(x))).sum(), x, create_graph=True)
            return sigma**2 * slope

        times = torch.linspace(np.log(self.least), np.log(self.most), STEPS + 1)
        return _by_ode(velocity, z, times, (1 + self.most**2) ** 0.5)


class EbmkitContrast(Energy):
    """ebmkit: noise-contrastive estimation against its default, a standard normal law; by quadrature."""

    name = "ebmkit, noise-contrastive; quadrature"
    needs = ("ebm", "torch")

    def _build(self):
        import ebm

        return ebm.nets.MLPEnergy(2, (128, 128)), ebm.NoiseContrastiveEstimation()

    def _log_prob(self, z):
        return _by_quadrature(self.module, z)


class EbmkitSpline(Energy):
    """ebmkit: its spline coupling flow, by maximum likelihood; the one density that needs no more work."""

    name = "ebmkit, spline flow; exact"
    needs = ("ebm", "torch")

    def _build(self):
        import ebm

        return ebm.nets.NeuralSplineCouplingFlow(2), None

    def _value(self, loss, module, rows):
        return module(rows).mean()

    def _log_prob(self, z):
        return -self.module(z)


class TorchebmDenoising(Energy):
    """torchebm: denoising score matching at σ = 0.05 standard deviations, its only level; by quadrature."""

    name = "torchebm, one-level denoising; quadrature"
    needs = ("torchebm", "torch")

    def _build(self):
        import torch
        from torchebm.losses import DenoisingScoreMatching

        layers = torch.nn.Linear(2, 128), torch.nn.SiLU(), torch.nn.Linear(128, 128), torch.nn.SiLU()
        module = torch.nn.Sequential(*layers, torch.nn.Linear(128, 1), torch.nn.Flatten(0))
        return module, DenoisingScoreMatching(model=module, noise_scale=0.05)

    def _value(self, loss, module, rows):
        return loss(rows)

    def _log_prob(self, z):
        return _by_quadrature(self.module, z)


class TorchebmFlow(Energy):
    """torchebm: flow matching with its time-conditioned network of width 128; by its ODE."""

    name = "torchebm, flow matching; ODE"
    needs = ("torchebm", "torch")

    def _build(self):
        from torchebm.losses import FlowMatchingLoss
        from torchebm.models import TimeConditionedMLP

        module = TimeConditionedMLP(in_dim=2, hidden_dim=128)
        return module, FlowMatchingLoss(model=module)

    def _value(self, loss, module, rows):
        return loss(rows)

    def _log_prob(self, z):
        import torch

        times = torch.linspace(1.0, 0.0, STEPS + 1)  # data are at 1
        return _by_ode(lambda x, t: self.module(x, t.expand(len(x))), z, times, 1.0)


ENERGIES = (EbmkitLevels, EbmkitContrast, EbmkitSpline, TorchebmDenoising, TorchebmFlow)


def _by_quadrature(energy, z):
    import torch

    with torch.no_grad():
        side = torch.linspace(-REACH, REACH, GRID)
        values = energy(torch.cartesian_prod(side, side))
        log_z = torch.logsumexp(-values, 0) + 2 * torch.log(side[1] - side[0])
        return -energy(z) - log_z


def _by_ode(velocity, z, times, scale: float):
    import torch

    def rate(x, t):
        x = x.detach().requires_grad_(True)
        v = velocity(x, t)
        parts = [torch.autograd.grad(v[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(2)]
        return torch.cat([v.detach(), sum(parts)[:, None]], 1)

    state = torch.cat([z, torch.zeros(len(z), 1)], 1)
    for t, end in zip(times[:-1], times[1:], strict=True):
        h = end - t
        a = rate(state[:, :2], t)
        b = rate((state + h / 2 * a)[:, :2], t + h / 2)
        c = rate((state + h / 2 * b)[:, :2], t + h / 2)
        d = rate((state + h * c)[:, :2], end)
        state = state + h / 6 * (a + 2 * b + 2 * c + d)
    x, volume = state[:, :2], state[:, 2]
    return volume - 0.5 * (x / scale).square().sum(1) - np.log(2 * np.pi * scale**2)
