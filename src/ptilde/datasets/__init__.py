"""Small real tables that ship with the package, and simulators whose density is known exactly."""

from ptilde.datasets.randhie import load_randhie, spending
from ptilde.datasets.simulators import (
    gaussian_mixture,
    gaussian_mixture_log_density,
    gaussian_mixture_score,
    hurdle,
    hurdle_log_density,
    tweedie,
    tweedie_log_density,
)

__all__ = [
    "gaussian_mixture",
    "gaussian_mixture_log_density",
    "gaussian_mixture_score",
    "hurdle",
    "hurdle_log_density",
    "load_randhie",
    "spending",
    "tweedie",
    "tweedie_log_density",
]
