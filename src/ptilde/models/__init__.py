"""Families of log densities: each an `eqx.Module` called on one point."""

from ptilde import _cache

_cache.enable()

from ptilde.models.network import NoiseConditionalDensity, Stratum  # noqa: E402

__all__ = ["NoiseConditionalDensity", "Stratum"]
