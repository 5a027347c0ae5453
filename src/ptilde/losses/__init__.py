"""Objectives at one point: each an `eqx.Module`, to be averaged over a batch by whoever calls it."""

from ptilde import _cache

_cache.enable()

from ptilde.losses.denoising import Dual, DualTerms, Noise, pooled_noise  # noqa: E402

__all__ = ["Dual", "DualTerms", "Noise", "pooled_noise"]
