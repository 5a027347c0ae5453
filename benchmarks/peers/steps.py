"""Steps of Adam down the score-matching losses of ebmkit and torchebm, in eager torch, as their users write them.

Both train an energy with two hidden layers of 128 and SiLU, ebmkit by its own trainer, torchebm in the loop of its
README. Sliced losses have one slice.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

BATCH, RATE, WIDTH = 512, 1e-3, 128


class EbmkitSteps:
    """`steps(num)` takes so many steps."""

    name = "ebmkit"
    needs = ("ebm", "torch")

    def __init__(self, loss: str, sigma: float, rows: NDArray, seed: int):
        import ebm
        import torch

        torch.manual_seed(seed)
        losses = {
            "exact": ebm.ExactScoreMatching,
            "sliced": ebm.SlicedScoreMatching,
            "denoising": lambda: ebm.DenoisingScoreMatching(sigma),
        }
        self.rows = torch.as_tensor(rows)
        self.trainer = ebm.Trainer(ebm.nets.MLPEnergy(rows.shape[1], (WIDTH, WIDTH)), losses[loss](), lr=RATE)

    def __call__(self, num: int) -> None:
        self.trainer.fit(self.rows, num, BATCH, verbose=False)


class TorchebmSteps:
    """`steps(num)` takes so many steps."""

    name = "torchebm"
    needs = ("torchebm", "torch")

    def __init__(self, loss: str, sigma: float, rows: NDArray, seed: int):
        import torch
        from torchebm.losses import DenoisingScoreMatching, ScoreMatching, SlicedScoreMatching

        torch.manual_seed(seed)
        losses = {
            "exact": lambda model: ScoreMatching(model=model),
            "sliced": lambda model: SlicedScoreMatching(model=model, n_projections=1),
            "denoising": lambda model: DenoisingScoreMatching(model=model, noise_scale=sigma),
        }
        self.rows = torch.as_tensor(rows)
        energy = _energy(rows.shape[1])
        self.loss = losses[loss](energy)
        self.optimizer = torch.optim.Adam(energy.parameters(), lr=RATE)

    def __call__(self, num: int) -> None:
        import torch

        for _ in range(num):
            loss = self.loss(self.rows[torch.randint(len(self.rows), (BATCH,))])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def _energy(dim: int) -> Any:
    import torch
    from torchebm.core import BaseModel

    class Energy(BaseModel):
        def __init__(self):
            super().__init__()
            layers = torch.nn.Linear(dim, WIDTH), torch.nn.SiLU(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.SiLU()
            self.net = torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, 1))

        def forward(self, x):
            return self.net(x).squeeze(-1)

    return Energy()


STEPS = (EbmkitSteps, TorchebmSteps)
