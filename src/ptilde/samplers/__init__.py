"""Draws from a density given up to a constant, or from a score."""

from ptilde import _cache

_cache.enable()

from ptilde.samplers.diffusion import ProbabilityFlow  # noqa: E402

__all__ = ["ProbabilityFlow"]
