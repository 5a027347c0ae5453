"""Where losses meet models meet data: stochastic descent, and Newton steps for models with few parameters."""

from ptilde.batches import Data
from ptilde.fit.descent import CHUNK, Descent, Trajectory, descend
from ptilde.fit.events import Event, Printer, together
from ptilde.fit.newton import NoMinimum, Unidentified, solve
from ptilde.fit.objectives import Denoise, Likelihood, Match, Unmask, derived, rows

__all__ = [
    "CHUNK",
    "Data",
    "Denoise",
    "Descent",
    "Event",
    "Likelihood",
    "Match",
    "NoMinimum",
    "Printer",
    "Trajectory",
    "Unidentified",
    "Unmask",
    "derived",
    "descend",
    "rows",
    "solve",
    "together",
]
