"""Names and cells that somebody may take for something else."""

import random

NAMES = (
    "a",
    "b",
    "amount",
    "Amount",
    " a ",
    "a",
    "__proto__",
    "constructor",
    "__class__",
    "columns",
    "left_out",
    "kind",
    '=cmd|"/c calc"!A1',
    "@SUM(1)",
    "<script>alert(1)</script>",
    "\x1b[2J\x1b]0;x\x07",
    "\x9b2J",
    "\u202egnp.exe",
    "\u2028",
    "a\nb",
    "a\r",
    "\ufeff",
    "'",
    '"',
    "\\",
    "]",
    "a.b",
    "0",
    "nan",
    "é" * 300,
    "{{ 7 * 7 }}",
    "[bold red]x[/]",
    "%s%n",
    "../../x",
    "log_density",
    "__index_level_0__",
    "",
)
TEXTS = (
    "north",
    "south",
    "",
    "NA",
    "nan",
    "-",
    "x",
    "<b>",
    "=1+1",
    "\x9b",
    "\u202e",
    "'; --",
    "a" * 300,
    "é",
    "😀",
)
NUMBERS = (
    "0",
    "-0",
    "1",
    "1.5",
    "-1",
    "+5",
    "1.",
    ".5",
    "1e400",
    "-1e400",
    "1e308",
    "-1.7976931348623157e308",
    "5e-324",
    "1e-310",
    "0x1F",
    "0b1",
    "1_000",
    "1,5",
    "1 000",
    "\u0661\u0662",
    "\uff11",
    "inf",
    "-inf",
    "Infinity",
    "NaN",
    "9007199254740993",
    "-9007199254740993",
    "9223372036854775807",
    "18446744073709551616",
    "1" * 60,
    "1" * 400,
    "0." + "0" * 300 + "1",
    "1e",
    "--1",
    "1/2",
    "12:30",
    "2024-02-30",
    "2024-01-01",
    "true",
    "None",
)


def names(count: int, rng: random.Random) -> list[str]:
    """Names of columns, most of them harmless, now and then one twice."""
    share = rng.choice((0.0, 0.0, 0.2, 1.0))
    return [rng.choice(NAMES) if rng.random() < share else f"c{j}" for j in range(count)]


def cell(sort: int, rng: random.Random) -> str:
    """A cell of a column of a sort, as text; the sorts are those that tables have, and some that they have not."""
    match sort:
        case 0:
            return str(rng.randrange(20))
        case 1:
            return repr(rng.gauss(0, 1))
        case 2:
            return f"{rng.expovariate(0.01):.2f}"
        case 3:
            return "0" if rng.random() < 0.5 else f"{rng.lognormvariate(3, 2):.4f}"
        case 4:
            return rng.choice(("north", "south", "east"))
        case 5:
            return rng.choice(NUMBERS)
        case 6:
            return rng.choice(TEXTS)
        case 7:
            return f"20{rng.randrange(10, 30)}-{rng.randrange(1, 14):02d}-{rng.randrange(1, 32):02d}"
        case 8:
            return repr(rng.choice((1.0, -1.0)) * 10.0 ** rng.uniform(-320, 308))
        case 9:
            return str(rng.randrange(2**64) - rng.choice((0, 2**63)))
        case 10:
            return rng.choice(("true", "false", "TRUE", ""))
        case 11:
            return str(rng.choice((1e9 + 1, 1e9 - 1, 1e-9, 0.1 + 0.2, 0.3, 100 * rng.random())))
        case _:
            return rng.choice((cell(rng.randrange(12), rng), ""))
