r"""A score learnt at every noise level: the field, and draws that follow it.
==========================================================================

Song & Ermon (2019, Generative modeling by estimating gradients of the data distribution, NeurIPS) learn the scores of
data at many noise levels with one network, by denoising, and draw by annealed Langevin dynamics. Here the data are two
half circles, a law that has hardly a density at all: with little noise the score is large beside the curves and says
nothing far away; with much noise it points to their middle from everywhere.

A network that is a score is no gradient of anything, exactly, and says no log density. What it can do is draw: by
Langevin steps at the smallest level alone, from a wide start, which take each particle to the piece of the curves that
is nearest, so that some pieces are crowded; annealed, as in 2019; and by the predictor-corrector scheme of Song et al.
(2021, Score-based generative modeling through stochastic differential equations, ICLR), each with 1,000 evaluations of
the score a particle. Two numbers tell: the mean distance to the nearest row, and the total variation between the shares
of 16 arcs among draws and among rows; fresh rows, blurred by the last noise level, set the floor of both.
"""

import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from matplotlib.figure import Figure
from scipy.spatial import KDTree

from ptilde import fit, losses, models
from ptilde.samplers import Annealed, PredictorCorrector

LOW, HIGH, CALLS, PARTICLES = 0.05, 5.0, 1000, 1000
random = np.random.default_rng(0)


def half_circles(n):
    """Two, one turned and moved, as scikit-learn's `make_moons` has them; and the arc of each point, one of 16."""
    angle, side = np.pi * random.random(n), random.integers(0, 2, n)
    x = np.where(side, 1 - np.cos(angle), np.cos(angle)) - 0.5
    x = 2 * np.column_stack([x, np.where(side, 0.5 - np.sin(angle), np.sin(angle)) - 0.25])
    return x, 8 * side + (8 * angle / np.pi).astype(int)


rows, arcs = half_circles(5000)
loss = losses.NoiseConditional.geometric(HIGH, LOW, 20)
network = models.NoisyScoreNetwork(2, width=64, mean=rows.mean(0), std=rows.std(0), key=jr.key(0))
plan = fit.Descent(batch_size=512, num_steps=3000, step_size=5e-3, weight_decay=0.0)
score = fit.descend(fit.Match(loss), network, fit.rows(rows), None, plan, jr.key(1)).model

key, wide = jr.key(2), 8 * jr.uniform(jr.key(3), (PARTICLES, 2)) - 4
corrector = PredictorCorrector(CALLS // 2)  # a step has a prediction and a correction
carry = lambda x, key: corrector(score, x, jnp.log(LOW), jnp.log(HIGH), key)  # noqa: E731
drawn = {
    "Langevin at the smallest level": Annealed([LOW], 0.07 * LOW**2, CALLS, denoise=False).draw(score, wide, key),
    "annealed Langevin": Annealed.between(HIGH, LOW, dim=2, num_score_calls=CALLS, denoise=False).draw(
        score, wide, key
    ),
    "predictor-corrector": jax.vmap(carry)(HIGH * jr.normal(key, (PARTICLES, 2)), jr.split(key, PARTICLES)),
}
tree = KDTree(rows)
again = half_circles(PARTICLES)[0] + LOW * random.standard_normal((PARTICLES, 2))
for name, x in {"blurred rows": again, **drawn}.items():
    distance, nearest = tree.query(np.asarray(x))
    share = [np.bincount(arc, minlength=16) / len(arc) for arc in (arcs, arcs[nearest])]
    away = 0.5 * np.abs(share[0] - share[1]).sum()
    print(f"{name}: distance to the nearest row {distance.mean():.3f}; total variation of the arcs {away:.3f}")

figure = Figure(figsize=(12, 4.9), layout="constrained")
(*fields, data), draws = figure.subplots(2, 4)[0], figure.axes[4:]
grid = np.stack(np.meshgrid(np.linspace(-4, 4, 23), np.linspace(-3, 3, 19)), -1).reshape(-1, 2)
for axes, sigma in zip(fields, (HIGH / 3, 0.5, 0.1), strict=True):
    arrows = np.array(jax.vmap(score, (0, None))(jnp.asarray(grid, jnp.float32), jnp.log(sigma)))
    length = np.linalg.norm(sigma * arrows, axis=1)
    arrows *= np.minimum(1, 3 / length)[:, None]
    blurred = rows[:1500] + sigma * random.standard_normal((1500, 2))
    axes.plot(*blurred.T, ".", color="0.85", ms=2)
    axes.quiver(*grid.T, *(sigma * arrows).T, np.minimum(length, 3), cmap="viridis", scale=40, width=0.005)
    axes.set_title(f"σ = {sigma:.2g}: blurred rows and σ × score", fontsize=9)
data.plot(*rows[:PARTICLES].T, ".", color="0.5", ms=2)
data.set_title("rows", fontsize=9)
for axes, (name, x) in zip(draws, drawn.items(), strict=False):
    axes.plot(*np.asarray(x).T, ".", color="C0", ms=2)
    axes.set_title(name, fontsize=9)
draws[3].plot(*again.T, ".", color="0.5", ms=2)
draws[3].set_title(f"rows, blurred by {LOW}", fontsize=9)
for axes in figure.axes:
    axes.set(xlim=(-4, 4), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
figure.savefig(sys.argv[1] if sys.argv[1:] else "plot_score_field.png", dpi=110)
