"""Cost: programs beside their own matrix products, what a fit spends time on, growth with rows, columns and width.

`--max-iter N` makes a run that only shows that all works: N steps a fit, two points a curve, short loops.
"""

import statistics
import sys

from benchmarks.cost import growth, picture, profiles
from benchmarks.cost.products import loop, operations
from benchmarks.cost.programs import KEY, Workload
from benchmarks.cost.simulated import randhie, wide
from benchmarks.cost.timing import alone, environment, in_turn, ratio
from benchmarks.harness import Floor, Options, Rows

SEEDS = [0]
BESIDE, STEP, FIT = "Beside the products", "A step", "A fit"
STEPS_MS, MS = ("scores ms", "map ms", "states ms"), ("scores / products", "map / products", "states / products")
TABLES = {
    BESIDE: ["us", "compiled us", "products us", "times", "times compiled", "GFLOP/s", "passes", "evaluations"],
    STEP: ["step", "loss, gradient", "products", "batches", "optimiser", "held-out", "unexplained"],
    FIT: ["s", "share", "peak MB"],
    "Rows": ["fit s", "compile s", "score s", "MB", "table MB"],
    "Columns": [*STEPS_MS, *MS, "MB"],
    "Width": [*STEPS_MS, *MS, "MB"],
    "Exponents": ["exponent", "last exponent"],
}
METRICS = {
    "us": "microseconds a row, or a step of a batch of 512 rows, as a person waits for it",
    "compiled us": "the same without the host's work before, between and after the compiled calls",
    "products us": "the same matrix products alone in one compiled loop, in turn with these two",
    "times": "`us` over `products us`, median over the turns",
    "times compiled": "`compiled us` over `products us`",
    "GFLOP/s": "of the products alone",
    "passes": "forward passes of the networks, at the same rows, that have as many operations as the products",
    "evaluations": "network evaluations a row; gradients, found by their operations, count as 3; of a step: `passes`",
    "step": "milliseconds of a step; so are the next",
    "loss, gradient": "loss and gradient at a fixed batch",
    "products": "of that the matrix products, alone",
    "batches": "rows and uniforms of a step: lattice, permutation, gather",
    "optimiser": "clip, AdamW, the moving average, the guard against steps that are not finite",
    "held-out": "loss of held-out rows after a chunk, a step's share",
    "unexplained": "step less loss and gradient, batches, optimiser",
    "s": "seconds of a fit of RAND HIE, nothing compiled before",
    "share": "of all seconds",
    "fit s": f"seconds of a fit of {growth.FIT_STEPS} steps a descent, less compilation",
    "compile s": "seconds of tracing, lowering and compiling in it, or of reading programs that were kept",
    "score s": f"seconds for the one-pass log densities of all rows, from those of {growth.MOST_SCORED:,} at most",
    "scores ms": "milliseconds a step of the scores",
    "map ms": "of the map",
    "states ms": "of the states",
    "scores / products": "step over its products alone",
    "map / products": "the same of the map",
    "states / products": "the same of the states",
    "MB": "most memory held by the process; where columns or width grow, after the steps of all three",
    "table MB": "most memory held before the fit, the table included",
    "peak MB": "most memory held by the process",
    "exponent": "p of cost = c size^p, by least squares in the logarithms over all sizes",
    "last exponent": "the same of the last two sizes",
}
REPEATS = 5
NUM_BLOCKS = {"RAND HIE": (16, 8), "40 columns": (16, 2)}  # of rows scored, drawn
NUM_STEPS = {"RAND HIE": 20, "40 columns": 4}
TABLE_OF = {"RAND HIE": randhie, "40 columns": lambda: wide(40)}
PARTS = ("score, amounts", "draw, amounts", "step, scores", "step, map", "step, states")
MOST_EVALUATIONS = {"score, amounts": 1, "draw, amounts": 100, "step, scores": 12, "step, map": 12, "step, states": 12}


def _floors() -> list[Floor]:
    floors = []
    for table in TABLE_OF:
        for part in PARTS:
            name, most = f"{BESIDE}: {table}, {part}", MOST_EVALUATIONS[part]
            floors += [
                Floor(f"{table}, {part}: evaluations at most {most}", _value(name, "evaluations"), _at_most(most)),
                Floor(f"{table}, {part}: within 2 times its products", _value(name, "times"), _at_most(2)),
            ]
    return [*floors, Floor("a fit holds at most 1.5 GiB", _value(f"{FIT}: all", "peak MB"), _at_most(1536))]


def _value(row: str, metric: str):
    return lambda rows: rows[row][metric]


def _at_most(most: float):
    return lambda value: value <= most


FLOORS = _floors()


def notes() -> list[str]:
    return [
        "Products are read off the traced program; small products batched over rows are left out of them.",
        "`40 columns`: 20,000 simulated rows, every other column zero in half of them; sizes as a fit chooses.",
        "States are scored and drawn by the chain rule, with one evaluation of their small network a column.",
        "On a GPU: `python -m benchmarks.gpu`, gpu.md.",
    ]


def measure(seed: int, options: Options, path) -> Rows:
    _tell("a fit")
    with environment(PTILDE_CACHE="0"):
        fit = alone(profiles.of_fit, options.max_iter)
    rows: Rows = {}
    for name in TABLE_OF:
        _tell(f"programs of {name}")
        rows |= alone(_programs, name, options.max_iter)
    rows |= {f"{FIT}: {name}": row for name, row in fit.items()}
    rows |= growth.curves(options.max_iter, _tell)
    if path:
        picture.draw(path, rows)
    return rows


def _programs(name: str, max_iter: int | None) -> Rows:
    """The programs of one table beside their products, and the parts of its steps."""
    work = Workload.of(TABLE_OF[name]())
    length, blocks, repeats = (2, (1, 1), 2) if max_iter else (NUM_STEPS[name], NUM_BLOCKS[name], REPEATS)
    programs = work.evaluations(*blocks)
    descents = work.descents()
    programs |= {f"step, {part}": descending.steps(length) for part, descending in descents.items()}
    rows: Rows = {}
    for part, program in programs.items():
        calls = {"us": program.run, "compiled us": program.compiled, "products us": loop(program.found, KEY)}
        seconds = in_turn(calls, repeats)
        row = {metric: 1e6 * statistics.median(s) / program.units for metric, s in seconds.items()}
        row["times"] = ratio(seconds["us"], seconds["products us"])
        row["times compiled"] = ratio(seconds["compiled us"], seconds["products us"])
        row["GFLOP/s"] = operations(program.found) / statistics.median(seconds["products us"]) / 1e9
        rows[f"{BESIDE}: {name}, {part}"] = {**row, "passes": program.passes, "evaluations": program.evaluations}
    for part, descending in descents.items():
        rows[f"{STEP}: {name}, {part}"] = profiles.of_step(descending, length, repeats)
    return rows


def _tell(what: str) -> None:
    print(f"  {what} ...", file=sys.stderr, flush=True)
