"""Draws from the conditional laws of a fitted density, and from what a weight makes of it."""

from ptilde.conditional.tables import Completion

__all__ = ["Completion"]
