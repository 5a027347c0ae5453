"""Refusals, in one grammar: "`name` must be ...; got ...".

Two errors of our own, both of them `ValueError`s, so that a caller needs no import to catch them:
`DataError` for a table that cannot be what it is said to be, `ModelFileError` for a file that is no model of ours.
"""

import math
import numbers
from collections.abc import Iterable


class DataError(ValueError):
    """A table, or a description of one, that cannot be used; the message names column, row, value, cure."""


class ModelFileError(ValueError):
    """A file that is not a model written by ptilde, or no longer is."""


def at_least(name: str, value: object, low: float) -> None:
    """Refuse a `value` that is not a number of `low` or more."""
    if not _is_number(value) or not value >= low:  # type: ignore[operator]
        raise ValueError(f"`{name}` must be at least {low}; got {value!r}.")


def whole(name: str, value: object, low: int) -> None:
    """Refuse a `value` that is not a whole number of `low` or more; NumPy's are numbers too, 2.0 is none."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ValueError(f"`{name}` must be a whole number; got {value!r}.")
    at_least(name, value, low)


def positive(name: str, value: object) -> None:
    """Refuse a `value` that is not a finite number above zero."""
    if not is_finite(value) or not 0 < value:  # type: ignore[operator]
        raise ValueError(f"`{name}` must be positive and finite; got {value!r}.")


def finite(name: str, value: object) -> None:
    """Refuse a `value` that is not a finite number."""
    if not is_finite(value):
        raise ValueError(f"`{name}` must be a finite number; got {value!r}.")


def is_finite(value: object) -> bool:
    """Whether a value is a number that a float holds: no infinity, and no whole number of 400 digits."""
    try:
        return _is_number(value) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        return False


def share(name: str, value: object) -> None:
    """Refuse a `value` that is not a number between 0 and 1."""
    if not _is_number(value) or not 0 < value < 1:  # type: ignore[operator]
        raise ValueError(f"`{name}` must lie between 0 and 1; got {value!r}.")


def one_of(name: str, value: object, options: Iterable[object]) -> None:
    """Refuse a `value` that is not among `options`."""
    options = list(options)
    if not any(value is option or (type(value) is type(option) and value == option) for option in options):
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, options))}; got {value!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
