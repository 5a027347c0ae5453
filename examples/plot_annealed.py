r"""Two modes in their shares: Langevin dynamics against annealed.
==============================================================

Song & Ermon (2019, Section 3.2.2) draw from ⅕ N((−5, −5), I) + ⅘ N((5, 5), I). Within a mode the score does not know
of the other, so Langevin dynamics leaves each particle in the mode that is nearer to its start, and from a uniform
start the shares are half and half. Annealed dynamics starts at a noise level that hides the modes, and lets it fall:
while σ passes the distance between the modes, particles still cross, and find the shares.

What is left to gain is time at those levels. Unadjusted steps must be short (ε = 0.07 σ² by the rule for their bias),
and 1,000 of them are too few to follow: 0.783, and finer levels alone do not change that. With accept/reject a step
has no bias, and may be fifteen times as long. The two ladders at the right are chosen from 20,000 rows of data
(`Annealed.fitted`), not for this law; each chain may evaluate the score, which is exact here, 1,000 times.
"""

import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from matplotlib.figure import Figure

from ptilde.datasets import gaussian_mixture
from ptilde.samplers import Annealed

WEIGHTS, CENTRES = np.array([0.2, 0.8]), np.array([[-5.0, -5.0], [5.0, 5.0]])
CALLS, SEEDS = 1000, 10


def log_density(x, log_sigma):
    """Of the mixture blurred by N(0, σ²I)."""
    variance = 1 + jnp.exp(2 * log_sigma)
    away = jnp.sum((x - CENTRES) ** 2, axis=1)
    return jax.nn.logsumexp(jnp.log(WEIGHTS) - 0.5 * away / variance) - jnp.log(2 * jnp.pi * variance)


score = jax.grad(log_density)
rows = gaussian_mixture(20_000, weights=WEIGHTS, means=CENTRES, seed=0)
runs = {
    "Langevin": (Annealed([0.01], 0.05, CALLS, denoise=False), score),
    "annealed, ladder of 2019": (Annealed(np.geomspace(20, 1, 10), 0.05, 100, denoise=False), score),
    "annealed, by the rules": (Annealed.fitted(rows, CALLS), score),
    "and Metropolis-adjusted": (Annealed.fitted(rows, CALLS, adjusted=True), log_density),
}

figure = Figure(figsize=(13, 3.1), layout="constrained")
panels = figure.subplots(1, 5, sharex=True, sharey=True)
panels[0].plot(*rows[:1280].T, ".", color="0.5", ms=2)
panels[0].set(title="data\nshare of the big mode 0.8", xlim=(-9.5, 9.5), ylim=(-9.5, 9.5))
for panel, (name, (sampler, target)) in zip(panels[1:], runs.items(), strict=True):
    shares = []
    for seed in range(SEEDS):
        start, key = jr.split(jr.key(seed))
        particles = sampler.draw(target, jr.uniform(start, (1280, 2), minval=-8, maxval=8), key)
        shares.append(np.mean(np.sum(particles, axis=1) > 0))
    mean, error = np.mean(shares), np.std(shares, ddof=1) / SEEDS**0.5
    print(f"{name}: share of the big mode {mean:.3f} ± {error:.3f}, over {SEEDS} seeds\n{sampler}\n")
    panel.plot(*particles.T, ".", color="C0", ms=2)
    panel.set(title=f"{name}\n{mean:.3f} ± {error:.3f}")
for panel in panels:
    panel.set(aspect="equal", xticks=[-5, 0, 5], yticks=[-5, 0, 5])
figure.savefig(sys.argv[1] if sys.argv[1:] else "plot_annealed.png", dpi=110)
