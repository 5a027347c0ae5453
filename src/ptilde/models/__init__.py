"""Families of log densities, called on one point, and the map that brings amounts near N(0, I)."""

from ptilde import _cache

_cache.enable()

from ptilde.models.discrete import ConwayMaxwellPoisson, Ising, Potts  # noqa: E402
from ptilde.models.exponential import Exponential, Exponents, Gamma, Gaussian, LogNormal, VonMises  # noqa: E402
from ptilde.models.hurdle import Hurdle, Strata, strata  # noqa: E402
from ptilde.models.ica import Ica, LogisticSource  # noqa: E402
from ptilde.models.kernel import KernelExponential  # noqa: E402
from ptilde.models.mixture import GaussianMixture  # noqa: E402
from ptilde.models.network import NoiseConditionalDensity, Stratum  # noqa: E402
from ptilde.models.plain import EnergyNetwork, NoisyScoreNetwork, ScoreNetwork  # noqa: E402
from ptilde.models.triangular import TriangularMap  # noqa: E402

__all__ = [
    "ConwayMaxwellPoisson",
    "EnergyNetwork",
    "Exponential",
    "Exponents",
    "Gamma",
    "Gaussian",
    "GaussianMixture",
    "Hurdle",
    "Ica",
    "Ising",
    "KernelExponential",
    "LogNormal",
    "LogisticSource",
    "NoiseConditionalDensity",
    "NoisyScoreNetwork",
    "Potts",
    "ScoreNetwork",
    "Strata",
    "Stratum",
    "TriangularMap",
    "VonMises",
    "strata",
]
