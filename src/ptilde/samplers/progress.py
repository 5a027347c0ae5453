"""What is heard of chains while they run: draws come in parts of one size, and after each there is a word."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ptilde.samplers.base import Info, State, run

PARTS = 10


class Progress(NamedTuple):
    """How far chains are.

    Attributes:
        draw: kept so far, of each chain.
        num_draws: in all.
        acceptance: mean of the draws so far.
        divergences: so far, over all chains.
        eta_seconds: for what is left, at the pace so far; the first part's compilation does not count.
    """

    draw: int
    num_draws: int
    acceptance: float
    divergences: int
    eta_seconds: float


def run_telling(
    sampler: Any,
    target: Any,
    states: State,
    key: PRNGKeyArray,
    num_draws: int,
    thin: int,
    tell: Callable[[Progress], None] | None,
) -> tuple[State, State, Info]:
    """As `run` from step 0, the same draws to the last bit, with a word after each tenth of them if wanted."""
    if tell is None:
        return run(sampler, target, states, key, jnp.asarray(0), num_draws, thin)
    size = -(-num_draws // PARTS)
    parts, done, began = [], 0, 0.0
    while done < num_draws:
        length = min(size, num_draws - done)
        states, kept, infos = run(sampler, target, states, key, jnp.asarray(done * thin), length, thin)
        parts.append((kept, infos))
        done += length
        jax.block_until_ready(infos)
        began = began or time.monotonic()
        pace = (time.monotonic() - began) / (done - size) if done > size else float("nan")
        seen = [info for _, info in parts]
        acceptance = sum(float(jnp.sum(info.acceptance)) for info in seen) / (done * infos.acceptance.shape[1])
        divergences = sum(int(jnp.sum(info.diverged)) for info in seen)
        tell(Progress(done, num_draws, acceptance, divergences, pace * (num_draws - done)))
    kept, infos = jax.tree.map(lambda *a: jnp.concatenate(a), *parts)
    return states, kept, infos


def say(progress: Progress) -> None:
    """A line for a person."""
    eta = "" if progress.eta_seconds != progress.eta_seconds else f", {progress.eta_seconds:.0f} s to go"
    print(
        f"draws: {progress.draw:,} of {progress.num_draws:,} a chain, acceptance {progress.acceptance:.2f}, "
        f"{progress.divergences} divergences{eta}",
        flush=True,
    )
