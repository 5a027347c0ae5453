"""Parameters of unnormalised densities: estimates, standard errors, tests."""

from ptilde import _cache

_cache.enable()

from ptilde.inference.estimate import estimate  # noqa: E402
from ptilde.inference.graphical import Edge, GraphicalPath, graphical_path  # noqa: E402
from ptilde.inference.hypotheses import Test  # noqa: E402
from ptilde.inference.result import Bootstrap, Estimate  # noqa: E402

__all__ = ["Bootstrap", "Edge", "Estimate", "GraphicalPath", "Test", "estimate", "graphical_path"]
