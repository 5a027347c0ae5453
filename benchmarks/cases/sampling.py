"""Sampling: steps of chains, our Mala against blackjax's, our Ula against the Langevin chains of ebmkit and torchebm.

`--max-iter N` makes a run that only shows that all works: N steps a turn, one turn.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from matplotlib.figure import Figure

from benchmarks.cost.timing import alone, in_turn, ratio
from benchmarks.harness import OURS, Floor, Options, Rows
from benchmarks.peers.chains import LANGEVIN, WIDTH, BlackjaxMala, Numbers, numbers
from ptilde.samplers import Density, Mala, Ula
from ptilde.samplers.base import begin, run
from ptilde.samplers.convergence import bulk_ess

CHAINS, STEPS, TURNS = 256, 1_000, 7
TARGETS = {"normal": (10, 0.2), "two modes": (2, 0.5), "network": (10, 0.25)}  # columns and ε of Mala
COLD = 0.2  # ε of Ula over that of Mala
PEERS = [peer.name for peer in LANGEVIN]
TABLES = {
    "accept/reject": [f"{name} M steps/s" for name in (OURS, "blackjax")]
    + [f"{OURS} / blackjax", "acceptance"]
    + [f"{name} ESS/s" for name in (OURS, "blackjax")],
    "unadjusted": [f"{name} M steps/s" for name in (OURS, *PEERS)] + [f"{OURS} / {name}" for name in PEERS],
}
METRICS = {
    f"{OURS} M steps/s": "millions of steps of a chain in a second: Mala above, Ula below",
    "blackjax M steps/s": "of blackjax's MALA",
    "ebmkit M steps/s": "of ebmkit's Langevin dynamics",
    "torchebm M steps/s": "of torchebm's",
    f"{OURS} ESS/s": "effective draws of the worst column, of all chains, in a second of ours",
    "blackjax ESS/s": "of blackjax's; no such number for unadjusted chains, whose law is not the target",
    "acceptance": "the share of our proposals that are accepted; blackjax's are the same",
}
METRICS |= {f"{OURS} / {name}": f"our speed over {name}'s, the median over turns" for name in ("blackjax", *PEERS)}


def _floors() -> list[Floor]:
    floors = [
        Floor(
            f"{target}: 0.9 of blackjax's speed", _times("accept/reject", target, "blackjax"), partial(_at_least, 0.9)
        )
        for target in TARGETS
    ]
    return floors + [
        Floor(f"{target}: 5 times as fast as {peer}", _times("unadjusted", target, peer), partial(_at_least, 5.0))
        for target in TARGETS
        for peer in PEERS
    ]


def _times(table: str, target: str, peer: str) -> Callable[[Rows], float]:
    return lambda rows: rows[f"{table}: {target}"][f"{OURS} / {peer}"]


def _at_least(least: float, value: float) -> bool:
    return value >= least


FLOORS = _floors()


def notes() -> list[str]:
    return [
        f"All take turns in one process: {CHAINS} chains of {STEPS:,} steps from the same places, {TURNS} turns,",
        "float32; every step is kept, with log q, its gradient and the acceptance in ours and in blackjax. normal: 10",
        "columns that are correlated; two modes: 2 columns; network: 10 columns, an energy",
        f"{WIDTH} and {WIDTH} wide. The same ε for all with accept/reject, {COLD:g} of it without. Eager torch waits",
        "for its threads in every operation: an idle machine is needed.",
    ]


def measure(seed: int, options: Options, path) -> Rows:
    rows: Rows = {}
    for target in TARGETS:
        print(f"  {target} ...", file=sys.stderr, flush=True)
        rows |= {f"accept/reject: {target}": alone(_adjusted, target, seed, options)}
        rows |= {f"unadjusted: {target}": alone(_unadjusted, target, seed, options)}
    if path:
        _draw(path, rows)
    return rows


class Target(eqx.Module):
    """The log density of what a target is made of."""

    numbers: Numbers

    def __call__(self, x: Any) -> Any:
        n = self.numbers
        if "precision" in n:
            return -0.5 * x @ n["precision"] @ x
        if "modes" in n:
            return logsumexp(n["log_shares"] - 0.5 * jnp.sum((x - n["modes"]) ** 2, 1))
        return -0.5 * x @ x - jax.nn.silu(jax.nn.silu(x @ n["first"]) @ n["second"]) @ n["last"]


class Ours:
    """All draws of our chains, and what acceptance they had."""

    def __init__(self, sampler: Any, log_q: Target, x: np.ndarray, seed: int):
        self.sampler, self.target, self.key = sampler, Density(log_q), jr.key(seed)
        self.states = begin(sampler, self.target, jnp.asarray(x))
        self.acceptance = np.nan

    def __call__(self, num_steps: int, turn: int) -> Any:
        key = jr.fold_in(self.key, turn)
        _, kept, infos = jax.block_until_ready(
            run(self.sampler, self.target, self.states, key, jnp.asarray(0), num_steps, 1)
        )
        self.acceptance = infos.acceptance
        return kept.x.swapaxes(0, 1)


def _adjusted(target: str, seed: int, options: Options) -> dict[str, float]:
    dim, step_size = TARGETS[target]
    log_q, x = _made(target, seed)
    chains = {
        OURS: Ours(Mala(step_size), log_q, x, seed),
        "blackjax": BlackjaxMala(log_q, step_size, jnp.asarray(x), seed),
    }
    seconds, num_steps = _raced(chains, options)
    row = _speeds(seconds, num_steps)
    for name, made in chains.items():
        draws = np.asarray(made(num_steps, 0), np.float64)
        size = min(bulk_ess(draws[..., j]) for j in range(dim)) if num_steps >= 4 else np.nan
        row[f"{name} ESS/s"] = size / statistics.median(seconds[name])
    return row | {"acceptance": float(jnp.mean(chains[OURS].acceptance))}


def _unadjusted(target: str, seed: int, options: Options) -> dict[str, float]:
    step_size = COLD * TARGETS[target][1]
    log_q, x = _made(target, seed)
    chains: dict[str, Any] = {OURS: Ours(Ula(step_size), log_q, x, seed)}
    for peer in LANGEVIN:
        if options.wants("energies") and all(map(find_spec, peer.needs)):
            chains[peer.name] = peer(numbers(target, seed), step_size, x, seed)
    return _speeds(*_raced(chains, options))


def _made(target: str, seed: int) -> tuple[Target, np.ndarray]:
    """The log density, and where chains start."""
    x = np.random.default_rng(seed + 1).normal(size=(CHAINS, TARGETS[target][0])).astype(np.float32)
    return Target(jax.tree.map(jnp.asarray, numbers(target, seed))), x


def _raced(chains: dict[str, Any], options: Options) -> tuple[dict[str, list[float]], int]:
    num_steps, turns = (options.max_iter, 1) if options.max_iter else (STEPS, TURNS)
    return in_turn({name: partial(made, num_steps, 1) for name, made in chains.items()}, turns), num_steps


def _speeds(seconds: dict[str, list[float]], num_steps: int) -> dict[str, float]:
    millions = CHAINS * num_steps / 1e6
    row = {f"{name} M steps/s": millions / statistics.median(turns) for name, turns in seconds.items()}
    others = {name: turns for name, turns in seconds.items() if name != OURS}
    return row | {f"{OURS} / {name}": ratio(turns, seconds[OURS]) for name, turns in others.items()}


def _draw(path, rows: Rows) -> None:
    """Millions of steps a second."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    names = {"accept/reject": (OURS, "blackjax"), "unadjusted": (OURS, *PEERS)}
    for axes, (title, who) in zip(figure.subplots(1, 2), names.items(), strict=True):
        for i, name in enumerate(who):
            speeds = [rows[f"{title}: {target}"].get(f"{name} M steps/s", np.nan) for target in TARGETS]
            axes.bar(np.arange(len(TARGETS)) + 0.25 * (i - (len(who) - 1) / 2), speeds, 0.25, label=name)
        axes.set_xticks(range(len(TARGETS)), list(TARGETS))
        axes.set_yscale("log")
        axes.set_title(title, fontsize=9)
        axes.legend(fontsize=8)
    figure.supylabel("millions of steps a second")
    figure.savefig(path, dpi=110)
