"""On a GPU: steps beside their matrix products, rows scored and drawn, by width and precision of the products.

`python -m benchmarks.gpu` writes `results/gpu.{json,md}` after every line that is measured. Without a GPU the table
says that it is not measured. `--device cpu --precisions float32` tries the script; its numbers say nothing of a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks.cost.products import loop, operations
from benchmarks.cost.programs import KEY, Descending, Program, Workload
from benchmarks.cost.simulated import wide
from benchmarks.cost.timing import in_turn, ratio
from benchmarks.harness import RESULTS, versions
from ptilde.fit import Descent

WIDTHS = (256, 512, 1024, 2048)
# As `jax.default_matmul_precision` takes them, operands and sum. Its words "bfloat16" and "tensorfloat32" leave the
# choice to the device, and may mean the same there. A CPU has no TF32.
PRECISIONS = {"float32": "F32_F32_F32", "TF32": "TF32_TF32_F32", "bfloat16": "BF16_BF16_F32"}
NUM_COLUMNS, NUM_BLOCKS, BATCH = 40, 32, 4096
SECONDS, GUESS = 0.3, 2e13  # a run of steps is to last so long, at so many operations a second
COLUMNS = {
    "step, scores ms": "milliseconds a step of the scores",
    "step, scores times": "over its matrix products alone, in one compiled loop at the same precision",
    "step, scores TFLOP/s": "of the step, by the operations of its products",
    "step, map ms": "the same of the map",
    "step, map times": "over its products",
    "step, map TFLOP/s": "of the step",
    "scored rows/s": "one-pass log densities of amounts, from host to host",
    "scored times": "over its products",
    "drawn rows/s": "amounts drawn, from host to host",
    "drawn times": "over its products",
}
Line = dict[str, Any]


def lines(widths: list[int], precisions: list[str], batch: int, num_blocks: int, repeats: int) -> Iterator[Line]:
    """A line for each width and precision."""
    table = wide(NUM_COLUMNS)
    for width in widths:
        work = Workload.of(table, width=width, map_width=width)
        for name in precisions:
            with jax.default_matmul_precision(PRECISIONS[name]):
                yield {"width": width, "precision": name, **_line(work, batch, num_blocks, repeats)}


def _line(work: Workload, batch: int, num_blocks: int, repeats: int) -> dict[str, float]:
    row: dict[str, float] = {}
    descents = work.descents()
    for part in ("scores", "map"):
        program = _steps(descents[part], batch)
        seconds, row[f"step, {part} times"] = _timed(program, repeats)
        row[f"step, {part} ms"] = 1e3 * seconds / program.units
        row[f"step, {part} TFLOP/s"] = operations(program.found) / seconds / 1e12
    evaluations = work.evaluations(num_blocks, num_blocks)
    for name, part in (("scored", "score, amounts"), ("drawn", "draw, amounts")):
        seconds, row[f"{name} times"] = _timed(evaluations[part], repeats)
        row[f"{name} rows/s"] = evaluations[part].units / seconds
    return row


def _steps(descending: Descending, batch: int) -> Program:
    """So many steps of so many rows that they last a while."""
    plan = descending.descent
    larger = Descent(batch, plan.num_steps, plan.step_size, plan.weight_decay, plan.warm_up, plan.patience)
    descending = Descending(descending.objective, descending.model, descending.data, larger)
    length = SECONDS * GUESS / operations(descending.found)
    return descending.steps(int(min(max(length, 5), 100)))


def _timed(program: Program, repeats: int) -> tuple[float, float]:
    """Seconds of a run, and how many times those of its products alone."""
    seconds = in_turn({"run": program.run, "products": loop(program.found, KEY)}, repeats)
    return statistics.median(seconds["run"]), ratio(seconds["run"], seconds["products"])


def markdown(result: dict[str, Any]) -> str:
    """The table, or that there is none."""
    head = [f"# {(__doc__ or '').splitlines()[0]}", ""]
    facts = [f"Device: {result['device'] or 'no GPU'}. " + ", ".join(map(" ".join, result["versions"].items())), ""]
    facts += [f"{NUM_COLUMNS} simulated columns, a batch of {result['batch']:,} rows, medians of turns.", ""]
    names = ["width", "precision", *COLUMNS]
    body = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for line in result["lines"]:
        body.append("| " + " | ".join(_cell(line[name]) for name in names) + " |")
    if not result["lines"]:
        body.append("| not measured |" + " |" * (len(names) - 1))
    return "\n".join([*head, *facts, *body, "", *(f"* {name}: {text}" for name, text in COLUMNS.items()), ""])


def _cell(value: Any) -> str:
    return (
        value if isinstance(value, str) else f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"
    )


def _device(kind: str) -> Any:
    try:
        return jax.devices(kind)[0]
    except RuntimeError:  # JAX has no such platform here
        return None


def main() -> None:
    """Measure, and write after every line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="gpu", help="platform, as JAX calls it (%(default)s)")
    parser.add_argument("--widths", nargs="+", type=int, default=list(WIDTHS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--batch", type=int, default=BATCH, help="rows a step (%(default)s)")
    parser.add_argument("--blocks", type=int, default=NUM_BLOCKS, help="blocks of rows scored and drawn (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (%(default)s)")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    device = _device(given.device)
    result = {"device": device and device.device_kind, "versions": versions(), "batch": given.batch, "lines": []}
    _write(result, given.out)
    if device is not None:
        with jax.default_device(device):
            for line in lines(given.widths, given.precisions, given.batch, given.blocks, given.repeats):
                result["lines"].append(line)
                _write(result, given.out)
    print(markdown(result))


def _write(result: dict[str, Any], out: Path) -> None:
    (out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "gpu.md").write_text(markdown(result))


if __name__ == "__main__":
    main()
