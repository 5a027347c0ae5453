"""Where losses meet models meet data: stochastic descent, and Newton steps for models with few parameters."""

from ptilde.batches import Data
from ptilde.fit.descent import CHUNK, Descent, Keeper, Position, Trajectory, descend
from ptilde.fit.events import Event, Printer, together
from ptilde.fit.newton import NoMinimum, Unidentified, solve
from ptilde.fit.objectives import Denoise, Likelihood, Match, Unmask, derived, rows

__all__ = [
    "CHUNK",
    "Data",
    "Denoise",
    "Descent",
    "Event",
    "Keeper",
    "Likelihood",
    "Match",
    "NoMinimum",
    "Position",
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
