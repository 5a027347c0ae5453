"""`ptilde demo`: the main job on a real table that ships with the package, from the rows to the verdict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ptilde.cli.console import result, say, show_table
from ptilde.cli.work import check_output, draw, fit_model

HELD_OUT = 0.25
NUM_ODE_ROWS = 200


def run(out: Path, seed: int, max_iter: int | None, time_budget: float | None) -> None:
    """Fit, draw, score, say, write."""
    out.mkdir(parents=True, exist_ok=True)
    model_path, rows_path, page_path = out / "randhie.ptilde", out / "synthetic.csv", out / "verdict.html"
    for path in (model_path, rows_path, page_path):
        check_output(path)
    from ptilde.report import measure, write_page
    from ptilde.tabular.reader import write_table
    from ptilde.tabular.subsample import Subsample

    train, test = split(seed)
    say(
        f"RAND Health Insurance Experiment: five columns of yearly spending, {train.num_rows:,} person-years to fit, "
        f"{test.num_rows:,} held out."
    )
    started = time.monotonic()
    model = fit_model(Subsample.whole(train), None, seed, max_iter, time_budget)
    say(f"Fitted in {time.monotonic() - started:.0f} s. Drawing, scoring and comparing ...")
    draws = draw(model, train.num_rows, seed)
    verdict = measure(model, train, test, draws, seed=seed, num_ode_rows=NUM_ODE_ROWS)
    tell(verdict)
    model.save(model_path)
    write_table(draws, rows_path)
    write_page(verdict, page_path, title="RAND HIE: spending on health, real and drawn")
    result("")
    for path, what in ((model_path, "the model"), (rows_path, "rows drawn from it"), (page_path, "the verdict")):
        result(f"wrote {path}  ({what})")


def split(seed: int) -> tuple[Any, Any]:
    """Rows to fit and rows to hold out, at random."""
    import numpy as np

    from ptilde.datasets import load_randhie, spending

    table = load_randhie(spending)
    order = np.random.default_rng(seed).permutation(table.num_rows)
    num_test = round(HELD_OUT * table.num_rows)
    return table.take(order[num_test:]), table.take(order[:num_test])


def _short(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 100 or x == 0 else f"{x:.3g}"


def tell(verdict: Any) -> None:
    """The verdict as two small tables and a list of sentences on stdout."""
    found = verdict.comparison
    rows = []
    for name, shares in found.atoms.items():
        for atom, (real, model) in shares.items():
            rows.append((name, f"{atom:g}", f"{100 * real.value:.1f} %", f"{100 * model.value:.1f} %"))
    show_table("Mass at each atom", ("column", "atom", "real", "model"), rows)
    rows = [
        (name, *(_short(pair[side].value) for pair in levels.values() for side in (0, 1)))
        for name, levels in found.tails.items()
    ]
    levels = next(iter(found.tails.values()), {})
    head = ("column", *(f"{100 * level:g} % {side}" for level in levels for side in ("real", "model")))
    show_table("Quantiles", head, rows)
    for question, answer, mark in verdict.findings:
        result(f"\n{question}{'' if mark == 'none' else f' [{mark}]'}\n  {answer}")
