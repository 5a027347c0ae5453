"""Measure a case over several seeds, hold the medians against the floors, write JSON, Markdown and a picture.

A case is a module of `benchmarks.cases` with

* a docstring whose first line is its title;
* `measure(seed, options, picture) -> {row name: {metric: number}}`: fit, draw and score ours and the peers on the split
  of that seed, and draw the picture when a path is given;
* `METRICS`: metric to what it says; `FLOORS`: what ours must reach;
* `notes() -> [sentence]` if there is more to say about the table;
* `TABLES`: {title: [metric]} if its rows, then named "title: name", stand in several tables;
* `SEEDS` if not three of them are run unless a person says so.

Each seed runs in a process of its own, so that times include the compiler's work (with its cache warm or not, as it
is on the machine) and the peak of memory belongs to one fit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

from benchmarks.peers import GROUPS

RESULTS = Path(__file__).parent / "results"
TABLES = Path(os.environ.get("PTILDE_TABLES") or Path(__file__).parents[2] / "shared" / "data")
OURS = "ptilde"
PACKAGES = ("ptilde", "jax", "blackjax", "numpy", "scipy", "scikit-learn", "torch", "zuko", "flowjax")
PACKAGES += ("ctgan", "copulas", "ForestDiffusion", "ebmkit", "torchebm", "statsmodels", "lightgbm")
Rows = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Options:
    """What a run is given beside its seed.

    `max_iter` and `budget` limit the fit, None for the estimator's or the case's own choice; a peer that a clock stops
    gets the budget, too. `peers` names the groups of peers that are measured.
    """

    max_iter: int | None = None
    budget: float | None = None
    peers: tuple[str, ...] = GROUPS

    def wants(self, group: str) -> bool:
        return group in self.peers

    def estimator(self, seed: int, **chosen):
        from ptilde import ScoreDensity

        limits = {"max_iter": self.max_iter or "auto", "time_budget": self.budget}
        return ScoreDensity(random_state=seed, **(limits | chosen))


@dataclass(frozen=True)
class Floor:
    """A number that the median of ours must reach; `reached` sees the medians of every row."""

    text: str
    value: Callable[[Rows], float]
    reached: Callable[[float], bool]


@dataclass
class Clock:
    """Seconds by the wall of each thing done under its name."""

    seconds: dict[str, float]

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def clock() -> Clock:
    return Clock({})


def peak_memory() -> float:
    """The most memory that this process has held so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` says there has been handed on by the process that started this one
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024**2


def machine() -> dict[str, str | int | None]:
    return {"processor": _processor(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass  # a peer's; its row says so
    return found


def shared_table(name: str) -> Path:
    """A real table that is no part of the project; it lies in the folder that PTILDE_TABLES names."""
    if not (TABLES / name).is_file():
        raise SystemExit(f"This case needs {name}; set PTILDE_TABLES to the folder that holds it (see its docstring).")
    return TABLES / name


def _one(case: str, seed: int, options: Options, picture: Path | None) -> Rows:
    return import_module(f"benchmarks.cases.{case}").measure(seed, options, picture)


def run(case: str, seeds: list[int], options: Options, out: Path) -> dict:
    module = import_module(f"benchmarks.cases.{case}")
    by_seed: dict[int, Rows] = {}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for place, seed in enumerate(seeds):
            print(f"{case}: seed {seed} ...", file=sys.stderr, flush=True)
            picture = out / f"{case}.png" if place == 0 else None
            by_seed[seed] = pool.submit(_one, case, seed, options, picture).result()
    rows = summarise(by_seed)
    medians = {name: {metric: value["median"] for metric, value in row.items()} for name, row in rows.items()}
    return {
        "case": case,
        "title": (module.__doc__ or case).splitlines()[0],
        "notes": module.notes() if hasattr(module, "notes") else [],
        "seeds": seeds,
        "options": asdict(options),
        "machine": machine(),
        "versions": versions(),
        "metrics": module.METRICS,
        "tables": getattr(module, "TABLES", {"": list(module.METRICS)}),
        "rows": rows,
        "floors": [held(floor, medians) for floor in module.FLOORS],
        "by_seed": {str(seed): value for seed, value in by_seed.items()},
    }


def held(floor: Floor, medians: Rows) -> dict:
    """Whether a floor was reached; neither way where a row that it needs was not measured."""
    try:
        value = floor.value(medians)
    except KeyError:
        return {"floor": floor.text, "value": None, "pass": None}
    return {"floor": floor.text, "value": value, "pass": bool(floor.reached(value))}


def summarise(by_seed: dict[int, Rows]) -> dict[str, dict[str, dict[str, float]]]:
    """For each row and metric the median over the seeds that have it, with the least and the largest."""
    result = {}
    for name in dict.fromkeys(name for rows in by_seed.values() for name in rows):
        there = [rows[name] for rows in by_seed.values() if name in rows]
        result[name] = {}
        for metric in dict.fromkeys(metric for row in there for metric in row):
            values = [float(row[metric]) for row in there if metric in row]
            result[name][metric] = {"median": statistics.median(values), "low": min(values), "high": max(values)}
            result[name][metric]["seeds"] = len(values)
    return result


def markdown(result: dict) -> str:
    """The tables of a result: a line for each model, then the floors."""
    where = result["machine"]
    lines = [f"# {result['title']}", ""]
    lines += [f"Seeds {', '.join(map(str, result['seeds']))}; median (least … largest). "]
    lines += [f"{where['cores']} cores, {where['processor']}; " + ", ".join(map(" ".join, result["versions"].items()))]
    limits = {name: result["options"][name] for name in ("max_iter", "budget")}
    chosen = ", ".join(f"{name} {value}" for name, value in limits.items() if value is not None)
    lines += ["", f"Limits of the fit: {chosen or 'the defaults'}.", ""]
    lines += [*result["notes"], ""] if result["notes"] else []
    for title, metrics in result["tables"].items():
        head = f"{title}: " if title else ""
        lines += [f"## {title}", ""] if title else []
        lines += ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
        for name, row in result["rows"].items():
            if name.startswith(head) and (not row or any(metric in row for metric in metrics)):
                cells = (_cell(row.get(metric), len(result["seeds"])) for metric in metrics)
                lines.append(f"| {name.removeprefix(head)} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [*(f"* {metric}: {text}" for metric, text in result["metrics"].items()), ""]
    lines += ["| floor | measured | |", "|---|---|---|"]
    for floor in result["floors"]:
        word = {True: "pass", False: "**fail**", None: "not measured"}[floor["pass"]]
        lines.append(f"| {floor['floor']} | {'' if floor['value'] is None else _number(floor['value'])} | {word} |")
    lines += ["", f"![]({result['case']}.png)", ""]
    return "\n".join(lines)


def _cell(value: dict[str, float] | None, num_seeds: int) -> str:
    if value is None:
        return ""
    some = "" if value["seeds"] == num_seeds else f", {value['seeds']} of {num_seeds} seeds"
    if value["low"] == value["high"]:
        return _number(value["median"]) + some
    return f"{_number(value['median'])} ({_number(value['low'])} … {_number(value['high'])}{some})"


def _number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}" if abs(x) >= 10 else f"{x:.4f}".rstrip("0").rstrip(".") or "0"


def main() -> None:
    """Run the cases named on the command line; exit 1 when a floor was missed."""
    names = sorted(path.stem for path in (Path(__file__).parent / "cases").glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="+", choices=names, metavar="CASE", help=", ".join(names))
    parser.add_argument("--seeds", nargs="+", type=int, help="0 1 2 unless the case says otherwise")
    parser.add_argument("--budget", type=float, help="seconds that a fit may take")
    parser.add_argument("--max-iter", type=int, help="steps of a fit")
    parser.add_argument("--peers", default=",".join(GROUPS), help="groups of peers beside ours (%(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (%(default)s)")
    given = parser.parse_args()
    groups = tuple(name for name in given.peers.split(",") if name != "ours")
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"--peers must be some of ours, {', '.join(GROUPS)}; got {', '.join(sorted(unknown))}")
    given.out.mkdir(parents=True, exist_ok=True)
    options = Options(given.max_iter, given.budget, groups)
    missed = 0
    for case in given.cases:
        seeds = given.seeds or getattr(import_module(f"benchmarks.cases.{case}"), "SEEDS", [0, 1, 2])
        result = run(case, seeds, options, given.out)
        (given.out / f"{case}.json").write_text(json.dumps(result, indent=1) + "\n")
        (given.out / f"{case}.md").write_text(markdown(result))
        print(markdown(result))
        missed += sum(floor["pass"] is False for floor in result["floors"])
    sys.exit(1 if missed else 0)
