"""How a schema is spelt: as plain dicts (for JSON) and as TOML that a person can edit.

A column is one flat table of keys: `kind`, and those that the kind has. The round trip is exact: numbers are written
so that reading gives the same float, and any string can be a name.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptilde import _json
from ptilde._validate import DataError
from ptilde.tabular.kinds import Categorical, Count, Interval, Kind, Positive, Real, SemiContinuous
from ptilde.tabular.levels import Grid, steps_of

_BODIES = {"Real": Real, "Positive": Positive, "Interval": Interval}
_KEYS = {
    "Real": ("grid", "missing"),
    "Positive": ("grid", "missing"),
    "Interval": ("low", "high", "grid", "missing"),
    "SemiContinuous": ("atoms", "body", "low", "high", "grid", "missing"),
    "Categorical": ("categories", "missing"),
    "Count": ("missing",),
}
_REQUIRED = {"Interval": ("low", "high"), "SemiContinuous": ("atoms",), "Categorical": ("categories",)}
_HEADER = """\
# What each column may hold. Correct it, then fit with it. Every column of the table stands here once.
#
# kind = "Real"            any number
#        "Positive"        any number above zero
#        "Interval"        a number between `low` and `high`
#        "SemiContinuous"  one of the `atoms` (values held by many rows), or else a number from the `body`, which is
#                          "Real", "Positive" or "Interval" with `low` and `high`
#        "Categorical"     one of the `categories`: strings, true and false, or numbers
#        "Count"           0, 1, 2, ...
# grid = 0.01              the step of recording, if any: values of the body are whole multiples of it
#      = [100, 10]         so if most are multiples of 100 and the others of 10; [100, 0]: the others are not rounded
# missing = true           if cells may be empty
#
# A column under [left_out] is not modelled; what follows its name is the reason.
"""


def kind_to_dict(kind: Kind) -> dict[str, Any]:
    """A kind as a flat dict of plain values; keys at their default are absent."""
    fields: dict[str, Any] = {"kind": type(kind).__name__}
    if isinstance(kind, Categorical):
        fields["categories"] = list(kind.categories)
    if isinstance(kind, SemiContinuous):
        fields |= {"atoms": list(kind.atoms), "body": type(kind.body).__name__}
    body = kind.body if isinstance(kind, SemiContinuous) else kind
    if isinstance(body, Interval):
        fields |= {"low": body.low, "high": body.high}
    if isinstance(body, Real | Positive | Interval) and body.grid is not None:
        fields["grid"] = list(body.grid) if isinstance(body.grid, tuple) else body.grid
    return fields | ({"missing": True} if kind.missing else {})


def kind_from_dict(fields: Mapping[str, Any]) -> Kind:
    """The inverse of `kind_to_dict`; raises ValueError."""
    keys = dict(fields)
    name = keys.pop("kind", None)
    if not isinstance(name, str) or name not in _KEYS:
        raise ValueError(f"`kind` must be one of {', '.join(_KEYS)}; got {name!r}.{_nearest(name, _KEYS)}")
    unknown = [key for key in keys if key not in _KEYS[name]]
    if unknown:
        allowed = ", ".join(f"`{key}`" for key in _KEYS[name])
        hint = _nearest(unknown[0], _KEYS[name])
        raise ValueError(f"`{unknown[0]}` is no key of kind {name}, whose keys are {allowed}.{hint}")
    for key in _REQUIRED.get(name, ()):
        if key not in keys:
            raise ValueError(f"`{key}` must be given for kind {name}; got only {', '.join(fields)}.")
    missing = keys.pop("missing", False)
    if name == "SemiContinuous":
        return SemiContinuous(_tuple(keys.pop("atoms")), _body_from_dict(keys), missing)
    if name == "Categorical":
        return Categorical(_tuple(keys["categories"]), missing)
    return Count(missing) if name == "Count" else _BODIES[name](**keys, missing=missing)


def _body_from_dict(keys: dict[str, Any]) -> Any:
    body = keys.pop("body", "Positive")
    if not isinstance(body, str) or body not in _BODIES:
        raise ValueError(f"`body` must be one of {', '.join(_BODIES)}; got {body!r}.{_nearest(body, _BODIES)}")
    for key in ("low", "high"):
        if (key in keys) != (body == "Interval"):
            rule = "must be given" if body == "Interval" else "must not be given"
            raise ValueError(f"`{key}` {rule} when `body` is {body}. An Interval has `low` and `high`.")
    return _BODIES[body](**keys)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _nearest(name: object, options: Any) -> str:
    close = difflib.get_close_matches(name, list(options), 1, 0.5) if isinstance(name, str) else []
    return f" Perhaps {close[0]!r}?" if close else ""


def read_fields(fields: Mapping[str, Any]) -> tuple[dict[str, Kind], dict[str, str]]:
    """The kinds and the reasons of a whole schema's dict; raises DataError with the column's name."""
    extra = [key for key in fields if key not in ("columns", "left_out")]
    if extra:
        raise DataError(
            f"A schema must have only [columns] and [left_out]; got {extra[0]!r}. Is it [columns.{extra[0]}]?"
        )
    columns, left_out = fields.get("columns"), fields.get("left_out", {})
    if not isinstance(columns, Mapping) or not columns:
        raise DataError(f"A schema must have [columns] with at least one column; got {columns!r}.")
    if not isinstance(left_out, Mapping) or not all(isinstance(why, str) for why in left_out.values()):
        raise DataError(f"[left_out] must give a reason in quotes for each name; got {left_out!r}.")
    kinds = {}
    for name, keys in columns.items():
        if not isinstance(keys, Mapping):
            raise DataError(f"Column {name!r} must be a table of keys with `kind`; got {keys!r}.")
        try:
            kinds[name] = kind_from_dict(keys)
        except ValueError as error:
            raise DataError(f"Column {name!r}: {error}") from None
    return kinds, dict(left_out)


def read_toml(path: Path) -> dict[str, Any]:
    """The dict that a TOML file spells."""
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        _json.check(fields)
        return fields
    except OSError as error:
        raise DataError(f"The schema {str(path)!r} must be a readable file; got: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"The schema {str(path)!r} must be UTF-8 text; got other bytes at {error.start}.") from None
    except RecursionError:
        raise DataError(f"The schema {str(path)!r} must be TOML; got brackets without end.") from None
    except ValueError as error:  # of tomllib, and of numbers with thousands of digits
        raise DataError(f"The schema {str(path)!r} must be TOML; got: {error}.") from None


def toml_text(fields: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """A schema's dict as TOML, each column under its comment."""
    lines = [_HEADER]
    for name, keys in fields["columns"].items():
        lines.append(f"[columns.{_quoted(name)}]")
        if comments.get(name):
            lines.append(f"# {_quoted(comments[name])[1:-1]}")
        lines += [f"{key} = {_toml_value(value)}" for key, value in keys.items()] + [""]
    if fields["left_out"]:
        lines.append("[left_out]")
        lines += [f"{_quoted(name)} = {_quoted(why)}" for name, why in fields["left_out"].items()] + [""]
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    return repr(value)


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's too; what no terminal should get is escaped as well."""
    spelt = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in spelt)


def points_of(kind: Kind) -> tuple[Any, ...]:
    """The values of a kind that hold probability by themselves: its atoms or categories."""
    if isinstance(kind, Categorical):
        return kind.categories
    return kind.atoms if isinstance(kind, SemiContinuous) else ()


def body_in_words(kind: Kind) -> str:
    """Where the rest lies, as a set."""
    body = kind.body if isinstance(kind, SemiContinuous) else kind
    if isinstance(body, Interval):
        return f"({body.low:.8g}, {body.high:.8g})" if body.grid is None else f"[{body.low:.8g}, {body.high:.8g}]"
    return {"Real": "real", "Positive": "> 0", "Count": "0, 1, 2, ..."}.get(type(body).__name__, "")


def grid_in_words(grid: Grid) -> str:
    """The steps of a grid, coarse to fine; "any" is full precision."""
    return "" if grid is None else ", ".join(f"{step:.8g}" if step else "any" for step in steps_of(grid))
