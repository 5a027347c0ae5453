"""`python -m benchmarks.reliability [--bounded] [--cases NAME ...] [--out FOLDER]`."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.harness import RESULTS, machine, versions
from benchmarks.reliability import files, kills, sizes
from benchmarks.reliability.found import Found, clock

CASES = {
    "fits": kills.of_fits,
    "jobs": kills.of_jobs,
    "writes": kills.of_writes,
    "ranks": kills.of_ranks,
    "determinism": sizes.determinism,
    "memory": sizes.memory,
    "huge": sizes.huge,
    "rate": sizes.rate,
    "quality": sizes.quality,
    "capacity": sizes.capacity,
    **files.CASES,
}
BOUNDED = ["writes", *files.CASES, "determinism", "jobs", "memory", "fits", "ranks"]  # what says most in a second first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bounded", action="store_true", help="a few of each case; writes nothing")
    parser.add_argument("--cases", nargs="+", choices=CASES)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no further case begins")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = {}
    began = clock()
    for name in options.cases or (BOUNDED if options.bounded else CASES):
        if clock() - began > options.seconds:
            print(f"{name}: not begun, the {options.seconds:.0f} s are over", flush=True)
            continue
        found[name] = CASES[name](options.bounded)
        print(_row(found[name]), flush=True)
        for failure in found[name].failures:
            print(f"    {failure}", flush=True)
    if not options.bounded:
        _write(options.out, found)
    sys.exit(any(case.failures for case in found.values()))


def _row(found: Found) -> str:
    peak = "" if found.peak != found.peak else f"{found.peak:,.0f}"
    return f"| {found.case} | {found.tried:,} | {len(found.failures)} | {found.seconds:.0f} | {peak} | {found.note} |"


def _write(out: Path, found: dict[str, Found]) -> None:
    """The tables, with what other runs found of cases that this one left out."""
    path = out / "reliability.json"
    before = json.loads(path.read_text())["cases"] if path.exists() else {}
    cases = before | {name: case._asdict() for name, case in found.items()}
    cases = {name: cases[name] for name in CASES if name in cases}
    path.write_text(json.dumps({"machine": machine(), "versions": versions(), "cases": cases}, indent=1) + "\n")
    head = "| case | tried | failures | seconds | peak MB | |\n| --- | --- | --- | --- | --- | --- |\n"
    rows = "\n".join(_row(Found(**case)) for case in cases.values())
    failures = "".join(f"\n* {name}: {text}" for name, case in cases.items() for text in case["failures"])
    told = "\n\nFailures:\n" + failures if failures else ""
    title = f"# Reliability\n\n`python -m benchmarks.reliability`, {machine()['cores']} cores, shared.\n\n"
    (out / "reliability.md").write_text(f"{title}{head}{rows}{told}\n")


if __name__ == "__main__":
    main()
