"""Parameters of unnormalised densities: estimates, standard errors, tests."""

from ptilde import _cache

_cache.enable()

from ptilde.inference.estimate import estimate  # noqa: E402
from ptilde.inference.hypotheses import Test  # noqa: E402
from ptilde.inference.result import Bootstrap, Estimate  # noqa: E402

__all__ = ["Bootstrap", "Estimate", "Test", "estimate"]
