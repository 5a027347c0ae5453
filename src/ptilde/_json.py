"""JSON without its loose ends: no repeated keys, no NaN or infinities, no broken letters, no bottomless depth."""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32  # of brackets within brackets


def dumps(value: Any) -> str:
    """The JSON text of a value, which `loads` gives back (tuples as lists); ValueError when there is none."""
    check(value)
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except TypeError as error:
        raise ValueError(str(error)) from error


def loads(text: str) -> Any:
    """The value of a JSON text; ValueError for all that is not strict JSON of bounded depth."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(f"more than {MAX_DEPTH} brackets within each other") from error
    check(value)
    return value


def check(value: Any, depth: int = MAX_DEPTH) -> None:
    """ValueError for brackets within brackets beyond `depth`, keys that are no strings, and broken letters."""
    if depth == 0:
        raise ValueError(f"more than {MAX_DEPTH} brackets within each other")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair is a ValueError here, not a crash when it is printed
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} is not a string")
            key.encode()
            check(inner, depth - 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            check(inner, depth - 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {key[:80]!r} stands twice")
        made[key] = value
    return made


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:80]} is too large")
    return value
