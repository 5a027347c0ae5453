"""Objectives at one point: each an `eqx.Module`, to be averaged over a batch by whoever calls it."""

from ptilde import _cache

_cache.enable()

from ptilde.losses.bounded import Ball, Bounded, Distance, Ends, Logarithm, Polytope, Power  # noqa: E402
from ptilde.losses.denoising import Dual, DualTerms, Noise, pooled_noise  # noqa: E402
from ptilde.losses.implicit import FiniteDifference, Hyvarinen, Sliced  # noqa: E402
from ptilde.losses.noisy import Denoising, NoiseConditional  # noqa: E402
from ptilde.losses.ratio import Choice, Neighbours, Proposal, Ratio  # noqa: E402
from ptilde.losses.stratified import Stratified  # noqa: E402

__all__ = [
    "Ball",
    "Bounded",
    "Choice",
    "Denoising",
    "Distance",
    "Dual",
    "DualTerms",
    "Ends",
    "FiniteDifference",
    "Hyvarinen",
    "Logarithm",
    "Neighbours",
    "Noise",
    "NoiseConditional",
    "Polytope",
    "Power",
    "Proposal",
    "Ratio",
    "Sliced",
    "Stratified",
    "pooled_noise",
]
