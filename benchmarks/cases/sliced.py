"""Deep energies by exact, sliced and denoising score matching, and a kernel family (Song et al. 2019, Section 5.1).

An `EnergyNetwork` is fitted by each loss to nine tenths of the fitted rows; its weights are chosen, from every 100
steps, by the same loss on the last tenth, and the σ of denoising by the exact loss there. `KernelExponential` (Nyström,
300 centres) is fitted to all fitted rows and chooses its bandwidth and ridge by a fifth of them. What counts is the
exact loss on the held-out rows, evaluated in float64. No model has its normaliser, so there is no likelihood.

Song, Garg, Shi & Ermon (2019), Sliced score matching: a scalable approach to density and score estimation, UAI. Uria,
Murray & Larochelle (2013), RNADE: the real-valued neural autoregressive density-estimator, NeurIPS, Section 4.1, whose
preparation of these tables they use.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.continuous import Table
from benchmarks.continuous import notes as prepared
from benchmarks.harness import Floor, Options, Rows, clock
from ptilde import fit, losses, models

NAMES = ("redwine", "whitewine", "parkinsons")
WIDTH, DEPTH, BATCH, STEPS, STEP_SIZE = 32, 3, 256, 1_200, 5e-3
SIGMAS = (0.01, 0.03, 0.1, 0.3)
SAME = 0.98  # correlation above which the later of two columns is left out
EXACT, REDUCED, SLICED, DENOISING = "exact", "sliced, variance reduced", "sliced", "denoising"
IMPLICIT = {EXACT: losses.Hyvarinen(), REDUCED: losses.Sliced(), SLICED: losses.Sliced(reduced=False)}
NETWORKS = (*IMPLICIT, DENOISING)

METRICS = {
    "loss": "mean exact loss of the held-out rows, tr ∇s + ‖s‖²/2: the Fisher divergence up to a constant of the table",
    "se loss": "its standard error over the rows",
    "median": "the median over the rows",
    "ms a step": f"milliseconds a step of {BATCH} rows, its share of the choice of weights included, compilation not",
    "steps": "steps until the loss of the last tenth had not improved for 0.4 of the plan, or to its end",
    "fit s": "seconds to fit, every σ and compilation included",
    "sigma": f"the σ chosen from {', '.join(map(str, SIGMAS))} standard deviations",
}
TABLES = {name: list(METRICS) for name in NAMES}


def _least(value) -> Any:
    """The least over the tables of what `value` says of {model: metrics}."""
    return lambda m: min(value({model: m[f"{name}: {model}"] for model in ("Gaussian", *NETWORKS)}) for name in NAMES)


FLOORS = [
    Floor(
        "the network's loss at least 1.5 times as far below zero as the Gaussian's, by every training, on every table",
        _least(lambda m: min(m[model]["loss"] / m["Gaussian"]["loss"] for model in NETWORKS)),
        lambda value: value >= 1.5,
    ),
    Floor(
        "variance-reduced slices gain at least 0.9 of what the exact loss gains over the Gaussian, on every table",
        _least(
            lambda m: (m[REDUCED]["loss"] - m["Gaussian"]["loss"]) / (m[EXACT]["loss"] - m["Gaussian"]["loss"]),
        ),
        lambda value: value >= 0.9,
    ),
    Floor(
        "an exact step costs at least 3 sliced ones, on every table",
        _least(lambda m: m[EXACT]["ms a step"] / m[REDUCED]["ms a step"]),
        lambda value: value >= 3,
    ),
]


def notes() -> list[str]:
    lines = [
        "Rows that repeat as recorded count once: at the twin of a fitted row every score loss rewards a spike.",
        f"Of two columns correlated by more than {SAME} the later one is left out (Uria, Murray & Larochelle 2013).",
    ]
    for name in NAMES:
        num_rows, num_columns = _table(name).rows.shape
        lines += [f"{name}: {line}" for line in prepared(name)]
        lines.append(f"{name}: {num_rows:,} distinct rows of {num_columns} columns remain.")
    return lines


def measure(seed: int, options: Options, picture: Path | None) -> Rows:
    rows: Rows = {}
    for name in NAMES:
        fitted, held_out, _ = _table(name).split(seed)
        for model, (density, row) in _fits(fitted, seed, options):
            loss = exact(density, held_out)
            row |= {"loss": loss.mean(), "se loss": loss.std() / len(loss) ** 0.5, "median": np.median(loss)}
            rows[f"{name}: {model}"] = {metric: float(value) for metric, value in row.items()}
    if picture:
        _draw(picture, rows)
    return rows


def _table(name: str) -> Table:
    """The columns and the rows that are left."""
    table = Table.read(name)
    correlation = np.abs(np.corrcoef(table.rows[:, table.kept].T))
    kept: list[int] = []
    for j in range(len(correlation)):
        kept += [j] if (correlation[j, kept] <= SAME).all() else []
    return Table(np.unique(table.rows[:, np.take(table.kept, kept)], axis=0), list(range(len(kept))), table.step[kept])


def _fits(fitted: NDArray, seed: int, options: Options) -> Iterator[tuple[str, tuple[Any, dict[str, float]]]]:
    """Each model with what its fit took."""
    yield "Gaussian", (_gaussian(fitted), {})
    timed = clock()
    with timed("fit s"):
        density = models.KernelExponential.fit(fitted, key=jr.key(seed))
    yield "kernel exponential", (density, timed.seconds)
    train, choose = np.split(fitted, [round(0.9 * len(fitted))])
    for name, loss in IMPLICIT.items():
        yield name, _network(loss, train, choose, seed, options)
    tried = []
    for sigma in SIGMAS:
        # An array, which JAX may see change: every σ is one program.
        loss = eqx.tree_at(lambda loss: loss.sigma, losses.Denoising(sigma), jnp.asarray(sigma, jnp.float32))
        density, row = _network(loss, train, choose, seed, options)
        tried.append((exact(density, choose).mean(), density, row | {"sigma": sigma}))
    _, density, row = min(tried, key=lambda trial: trial[0])
    yield DENOISING, (density, row | {"fit s": sum(row["fit s"] for _, _, row in tried)})


def _gaussian(x: NDArray) -> models.Gaussian:
    precision = np.linalg.inv(np.cov(x.T))
    return models.Gaussian(precision @ x.mean(0), precision[np.triu_indices(x.shape[1])])


def _network(
    loss: Any, train: NDArray, choose: NDArray, seed: int, options: Options
) -> tuple[models.EnergyNetwork, dict[str, float]]:
    steps: list[int] = []
    times = [time.perf_counter()]

    def told(event: fit.Event) -> None:
        steps.append(event.step)
        times.append(time.perf_counter())

    model = models.EnergyNetwork(train.shape[1], WIDTH, DEPTH, key=jr.key(seed))
    plan = fit.Descent(BATCH, num_steps=options.max_iter or STEPS, step_size=STEP_SIZE, weight_decay=0.0)
    data, held_out = fit.rows(train), fit.rows(choose)
    model = fit.descend(
        fit.Match(loss), model, data, held_out, plan, jr.key(seed), seconds=options.budget, callback=told
    ).model
    row = {"steps": float(steps[-1]), "fit s": times[-1] - times[0]}
    if len(steps) > 1:  # the first chunk is compiled
        row["ms a step"] = 1e3 * (times[-1] - times[1]) / (steps[-1] - steps[0])
    return model, row


@eqx.filter_jit
def _losses(model: Any, x: Array) -> Array:
    score, key, loss = jax.grad(model), jr.key(0), losses.Hyvarinen()
    return jax.lax.map(lambda x: loss(score, x, key), x, batch_size=512)


def exact(model: Any, x: NDArray) -> NDArray:
    """The exact loss of each row, in float64."""
    with jax.enable_x64(True):
        return np.asarray(_losses(model, jnp.asarray(x)))


def _draw(path: Path, rows: Rows) -> None:
    """Loss against the time of a step, a panel a table."""
    figure = Figure(figsize=(4 * len(NAMES), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(NAMES)), NAMES, strict=True):
        for i, model in enumerate(NETWORKS):
            row = rows[f"{name}: {model}"]
            axes.errorbar(row.get("ms a step", 1.0), row["loss"], row["se loss"], fmt="o", color=f"C{i}", label=model)
        for model, style in (("Gaussian", ":"), ("kernel exponential", "--")):
            axes.axhline(rows[f"{name}: {model}"]["loss"], color="0.5", ls=style, label=model)
        axes.set(title=name, xlabel="milliseconds a step")
        axes.set_xlim(left=0)
    figure.axes[0].set_ylabel("held-out exact loss ± standard error")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
    figure.savefig(path, dpi=110)
