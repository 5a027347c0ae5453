"""Draws from a density given up to a constant, or from a score."""

from ptilde import _cache

_cache.enable()

from ptilde.samplers.annealed import Annealed  # noqa: E402
from ptilde.samplers.base import Density, Field, Info, State  # noqa: E402
from ptilde.samplers.chains import Chains  # noqa: E402
from ptilde.samplers.columns import Column  # noqa: E402
from ptilde.samplers.corrector import NoiseSampler, PredictorCorrector  # noqa: E402
from ptilde.samplers.diffusion import ProbabilityFlow  # noqa: E402
from ptilde.samplers.external import Hmc, Nuts  # noqa: E402
from ptilde.samplers.jump import Jump  # noqa: E402
from ptilde.samplers.langevin import Mala, Ula  # noqa: E402
from ptilde.samplers.progress import Progress  # noqa: E402
from ptilde.samplers.smc import TemperedSmc  # noqa: E402

__all__ = [
    "Annealed",
    "Chains",
    "Column",
    "Density",
    "Field",
    "Hmc",
    "Info",
    "Jump",
    "Mala",
    "NoiseSampler",
    "Nuts",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Progress",
    "State",
    "TemperedSmc",
    "Ula",
]
