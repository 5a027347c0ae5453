"""Speed: a training step of score matching, ours in compiled chunks against ebmkit and torchebm in eager torch.

`--max-iter N` makes a run that only shows that all works: N steps a turn, one turn.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax.random as jr
import numpy as np
from matplotlib.figure import Figure

from benchmarks.cost.programs import Descending
from benchmarks.cost.timing import alone, in_turn, ratio
from benchmarks.harness import OURS, Floor, Options, Rows
from benchmarks.peers.steps import BATCH, RATE, STEPS, WIDTH
from ptilde import fit
from ptilde.losses import Denoising, Hyvarinen, Sliced
from ptilde.models import EnergyNetwork, ScoreNetwork

SIGMA, NUM = 0.1, 20_000
LOSSES = {"exact": Hyvarinen(), "sliced": Sliced(), "denoising": Denoising(SIGMA, control=False)}
DIMS, TURNS, PEER_STEPS = (2, 10), 3, 10
FIELD = f"{OURS}, field"
TABLES = {
    f"{dim} columns, {cores}": [f"{name} ms" for name in (OURS, "ebmkit", "torchebm", FIELD)]
    + [f"{peer.name} / {OURS}" for peer in STEPS]
    for cores in ("all cores", "one core")
    for dim in DIMS
}
METRICS = {
    f"{OURS} ms": f"milliseconds a step of our energy, {WIDTH} and {WIDTH} wide",
    "ebmkit ms": "of ebmkit's, as wide",
    "torchebm ms": "of torchebm's, as wide",
    f"{FIELD} ms": "of our network that gives the score itself; the peers' losses take energies only",
}
METRICS |= {
    f"{peer.name} / {OURS}": f"a step of {peer.name} over ours, of energies; median over the turns" for peer in STEPS
}


def _floors() -> list[Floor]:
    return [
        Floor(f"{dim} columns, {loss}: 5 times as fast as {peer.name}", _times(dim, loss, peer.name), _at_least_five)
        for dim in DIMS
        for loss in LOSSES
        for peer in STEPS
    ]


def _times(dim: int, loss: str, peer: str) -> Callable[[Rows], float]:
    return lambda rows: rows[f"{dim} columns, all cores: {loss}"][f"{peer} / {OURS}"]


def _at_least_five(value: float) -> bool:
    return value >= 5


FLOORS = _floors()


def notes() -> list[str]:
    return [
        f"All take turns in one process: silu, batches of {BATCH} of {NUM:,} normal rows, Adam at {RATE}, float32;",
        f"ours: chunks of {fit.CHUNK} steps as `fit.descend` runs them, with clip, averaged weights and guard. σ of",
        f"denoising is {SIGMA}; sliced losses have one slice. On one core other processes slow all alike; on all cores",
        "they slow eager torch most, whose threads wait for each other in every operation: an idle machine is needed.",
    ]


def measure(seed: int, options: Options, path) -> Rows:
    rows: Rows = {}
    for title in TABLES:
        print(f"  {title} ...", file=sys.stderr, flush=True)
        size, cores = title.split(" columns, ")
        if cores == "all cores" or hasattr(os, "sched_setaffinity"):
            found = alone(_steps, int(size), cores == "one core", seed, options)
            rows |= {f"{title}: {loss}": row for loss, row in found.items()}
    if path:
        _draw(path, rows)
    return rows


def _steps(dim: int, one_core: bool, seed: int, options: Options) -> Rows:
    """Each loss: milliseconds a step, and the peers' over ours."""
    peers = [peer for peer in STEPS if options.wants("energies") and all(map(find_spec, peer.needs))]
    if one_core:  # before JAX and torch count the cores
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    data = np.random.default_rng(seed).normal(size=(NUM, dim)).astype(np.float32)
    ours, theirs = (options.max_iter,) * 2 if options.max_iter else (fit.CHUNK, PEER_STEPS)
    rows: Rows = {}
    networks = {OURS: EnergyNetwork, FIELD: ScoreNetwork}
    for title, loss in LOSSES.items():
        calls = {name: _chunk(loss, network, data, seed, ours) for name, network in networks.items()}
        calls |= {peer.name: partial(peer(title, SIGMA, data, seed), theirs) for peer in peers}
        seconds = in_turn(calls, 1 if options.max_iter else TURNS)
        steps = {name: ours if name in networks else theirs for name in calls}
        each = {name: [1e3 * s / steps[name] for s in turns] for name, turns in seconds.items()}
        rows[title] = {f"{name} ms": statistics.median(turns) for name, turns in each.items()}
        rows[title] |= {f"{peer.name} / {OURS}": ratio(each[peer.name], each[OURS]) for peer in peers}
    return rows


def _chunk(loss: Any, network: Any, data: np.ndarray, seed: int, length: int) -> Callable[[], Any]:
    """So many steps of a descent in one dispatch, from the same start in every turn."""
    descent = fit.Descent(BATCH, 10_000, RATE, 0.0)
    descending = Descending(fit.Match(loss), network(data.shape[1], WIDTH, key=jr.key(seed)), fit.rows(data), descent)
    return partial(descending.chunk, descending.walk, length)


def _draw(path, rows: Rows) -> None:
    """Milliseconds a step."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, title in zip(figure.subplots(2, 2).ravel(), TABLES, strict=True):
        for i, name in enumerate((OURS, FIELD, "ebmkit", "torchebm")):
            times = [rows.get(f"{title}: {loss}", {}).get(f"{name} ms", np.nan) for loss in LOSSES]
            axes.bar(np.arange(len(LOSSES)) + 0.2 * i - 0.3, times, 0.2, label=name)
        axes.set_xticks(range(len(LOSSES)), list(LOSSES))
        axes.set_yscale("log")
        axes.set_title(title, fontsize=9)
    axes.legend(fontsize=8)
    figure.supylabel("milliseconds a step")
    figure.savefig(path, dpi=110)
