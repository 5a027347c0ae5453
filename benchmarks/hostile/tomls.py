"""Schema files made to do harm: TOML of a schema's form with other values in it, then damage."""

import json
import random

from benchmarks.hostile import words
from benchmarks.hostile.damage import damaged

KINDS = ("Real", "Positive", "Interval", "SemiContinuous", "Categorical", "Count", "count", "", "Kind")
KEYS = ("kind", "atoms", "body", "low", "high", "grid", "missing", "categories", "points", "__class__")
VALUES = (
    *("0", "1", "-1", "0.0", "-0.0", "0.5", "1.0", "100.0", "1e308", "-1e308", "1e400", "5e-324", "inf", "-inf", "nan"),
    *("true", "false", '""', '"Positive"', '"Interval"', '"Real"', '"\\u001b[2J"', '"\\u202E"', "'x'", '"""\nx"""'),
    *("1" * 400, "1" * 5000, "0x1F", "1_000", "9223372036854775808", "2024-01-01", "2024-01-01T00:00:00Z", "12:00:00"),
    *("[]", "[0.0]", "[0.0, 0.0]", "[0, 1e-13]", "[1, 0]", "[0, 1]", "[100, 10]", "[100, 7]", "[0.0, inf]", "[nan]"),
    *(
        '["a", "b"]',
        '["a", "a"]',
        "[1, 1.0]",
        "[1, true]",
        '["a", 1]',
        "[[0.0]]",
        "[{}]",
        "{}",
        "{ a = 1 }",
        "[2024-01-01]",
    ),
    *(
        "[" * 2000 + "]" * 2000,
        "{a=" * 900 + "1" + "}" * 900,
        f"[{'1' * 400}]",
        f"[{', '.join(map(str, range(3000)))}]",
    ),
)
GOOD = {
    "Real": {"grid": ("0.01", "[100, 10]", "[1, 0]"), "missing": ("true", "false")},
    "Positive": {"grid": ("0.5", "1"), "missing": ("true",)},
    "Interval": {"low": ("0", "-1.5"), "high": ("1", "100.0"), "grid": ("0.25",)},
    "SemiContinuous": {"atoms": ("[0.0]", "[0, 10]"), "body": ('"Positive"', '"Real"'), "missing": ("true",)},
    "Categorical": {"categories": ('["a", "b"]', "[1, 2]", "[true, false]"), "missing": ("true",)},
    "Count": {"missing": ("true", "false")},
}
LINES = (
    "[columns]",
    "[left_out]",
    "[[columns]]",
    "[columns.a.b]",
    "x = 1",
    "left_out = 1",
    "columns = []",
    "#",
    "\x00",
    "\x7f",
)


def toml_file(i: int) -> bytes:
    """Case i."""
    rng = random.Random(i)
    lines = []
    for name in words.names(rng.choice((0, 1, 1, 2, 4)), rng):
        lines.append(f"[columns.{_key(name, rng)}]")
        kind = rng.choice(list(GOOD)) if rng.random() < 0.8 else rng.choice(KINDS)
        lines.append(f'kind = "{kind}"' if rng.random() < 0.95 else f"kind = {rng.choice(VALUES)}")
        keys = {key: rng.choice(values) for key, values in GOOD.get(kind, {}).items() if rng.random() < 0.8}
        for _ in range(rng.choice((0, 0, 1, 2))):
            keys[rng.choice(list(keys) or KEYS) if rng.random() < 0.7 else rng.choice(KEYS)] = rng.choice(VALUES)
        lines += [f"{key} = {value}" for key, value in keys.items()]
    if rng.random() < 0.4:
        lines.append("[left_out]")
        lines += [f"{_key(name, rng)} = {rng.choice(VALUES)}" for name in words.names(rng.choice((0, 1, 2)), rng)]
    for _ in range(rng.choice((0, 0, 0, 1))):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(LINES))
    blob = "\n".join(lines).encode(rng.choice(("utf-8",) * 9 + ("utf-16",)), "replace")
    return damaged(blob, rng) if rng.random() < 0.25 else blob


def _key(name: str, rng: random.Random) -> str:
    """A quoted key, or now and then a bare one that may not be one."""
    return json.dumps(name) if rng.random() < 0.95 else name
