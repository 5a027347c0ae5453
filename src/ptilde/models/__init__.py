"""Families of log densities, called on one point, and the map that brings amounts near N(0, I)."""

from ptilde import _cache

_cache.enable()

from ptilde.models.network import NoiseConditionalDensity, Stratum  # noqa: E402
from ptilde.models.triangular import TriangularMap  # noqa: E402

__all__ = ["NoiseConditionalDensity", "Stratum", "TriangularMap"]
