"""CSV files made to do harm: the grammar of CSV with its words in the wrong places, then damage."""

import csv
import io
import random

from benchmarks.hostile import words
from benchmarks.hostile.damage import damaged

ENCODINGS = ("utf-8",) * 24 + ("utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252", "utf-7")
QUOTING = (csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)
# Spliced into the text between two characters.
PIECES = (
    "\0",
    '"',
    '""',
    "\r",
    "\n",
    "\n\n",
    ",",
    ";",
    "\t",
    "\ufeff",
    "\x1b[2J",
    "'",
    "\\",
    "\v",
    "\f",
    "\x1a",
    " ",
    "\u2028",
)


def csv_file(i: int) -> bytes:
    """Case i."""
    rng = random.Random(i)
    rows, columns = _size(rng)
    sorts = [rng.randrange(13) for _ in range(columns)]
    table = [[words.cell(sort, rng) for sort in sorts] for _ in range(rows)]
    text = _written([words.names(columns, rng), *table], rng)
    for _ in range(rng.choice((0,) * 7 + (1, 3))):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(PIECES) + text[at:]
    if rng.random() < 0.005:
        text = text.replace("north", rng.choice('ab"') * rng.choice((70_000, 140_000, 1_200_000)), 1)
    blob = text.encode(rng.choice(ENCODINGS), "replace")
    return damaged(blob, rng) if rng.random() < 0.25 else blob


def _size(rng: random.Random) -> tuple[int, int]:
    """Rows and columns: few of both, or many of one."""
    if rng.random() < 0.002:
        return rng.choice(((3, 10_000), (20_000, 2), (40, 300)))
    return rng.choice((0, 1, 2, 3, 10, 40, 120, 300)), rng.choice((1, 1, 2, 3, 4, 6))


def _written(table: list[list[str]], rng: random.Random) -> str:
    """The text of a table, ragged now and then."""
    out = io.StringIO()
    style = {"delimiter": rng.choice(",,,;\t|"), "lineterminator": rng.choice(("\n", "\n", "\r\n", "\r"))}
    writer = csv.writer(out, quoting=rng.choice(QUOTING), escapechar="\\", **style)
    ragged = rng.random() < 0.1
    for row in table:
        writer.writerow(row if not ragged or rng.random() < 0.9 else rng.choice((row[:-1], [*row, "1"], [], [""])))
    return out.getvalue()
