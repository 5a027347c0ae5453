"""Every example runs by itself, draws its picture, and prints what its docstring claims."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
TABLES = "Gaussian copula", "ScoreDensity"
NUMBER = r"(-?[\d.,]+)"
pytestmark = pytest.mark.slow


class Line(NamedTuple):
    """A printed estimate."""

    value: float
    error: float
    truth: float

    def off(self, value: float) -> float:
        """Standard errors between a value and the truth."""
        return abs(value - self.truth) / self.error


def printed(name: str, folder: Path, *path: Path) -> str:
    """What an example says; it leaves its picture where it is told, or by its name alone where it runs."""
    command, environment = [sys.executable, EXAMPLES / f"{name}.py", *path], os.environ | {"PYTHONUTF8": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert_picture(path[0] if path else folder / f"{name}.png")
    return done.stdout


def assert_picture(path: Path) -> None:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 15_000


def estimates(text: str) -> dict[str, Line]:
    """The lines "name value ± error truth value", by name."""
    pattern = rf"^(\S.*?) +{NUMBER} ± {NUMBER} +truth +{NUMBER}"
    return {name: Line(*map(float, numbers)) for name, *numbers in re.findall(pattern, text, re.MULTILINE)}


def test_the_notebook_works(tmp_path):
    text = printed("plot_notebook", tmp_path)
    found = estimates(text)
    assert list(found) == ["normal mean", "normal std", "claims P(zero)", "claims mean"]
    assert all(found[name].off(found[name].value) < 4.5 for name in ("normal mean", "normal std"))
    assert abs(found["claims P(zero)"].value - found["claims P(zero)"].truth) < 0.02
    assert abs(found["claims mean"].value - found["claims mean"].truth) < 0.1
    assert float(re.search(r"mean squared error of the score .* ([\d.]+)", text)[1]) < 0.02
    fall = [float(loss.replace(",", "")) for loss in re.findall(rf"plain score matching: loss {NUMBER}", text)]
    assert len(fall) == 6 and fall[-1] < -1_000 and (np.diff(fall) < 0).all()
    assert re.search(r"^ptilde: Column 'x0' .* 0\.23 of its rows are exactly 0", text, re.MULTILINE)


def test_truncated_laws_are_found_and_the_rows_seen_are_not_them(tmp_path):
    text = printed("plot_truncated", tmp_path)
    found = estimates(text)
    assert len(found) == 7
    assert all(line.off(line.value) < 4.5 for line in found.values())
    naive = [float(value) for value in re.findall(rf"rows seen +{NUMBER}", text)]
    assert all(line.off(value) > 6 for line, value in zip(found.values(), naive, strict=True))


def test_the_hurdle_model_says_which_spendings_go_together(tmp_path):
    text = printed("plot_hurdle", tmp_path)
    interval = rf"{NUMBER} \[ *{NUMBER}, +{NUMBER}\] ([* ])"
    rows = re.findall(rf"^(\w+ – \w+) +{interval} +{interval} +(\S+)$", text, re.MULTILINE)
    assert len(rows) == 10
    for _, *row in rows:
        for value, low, high, star in (row[:4], row[4:8]):
            assert float(low) < float(value) < float(high)
            assert (star == "*") == (float(low) > 0 or float(high) < 0)
    incidence = {row[0] for row in rows if row[4] == "*"}
    outpatient = {f"outpatient – {other}" for other in ("drugs", "supplies", "mental", "inpatient")}
    assert incidence == outpatient | {"drugs – mental", "drugs – inpatient"}
    by_pair = {row[0]: row for row in rows}
    assert float(by_pair["outpatient – drugs"][5]) == pytest.approx(0.32, abs=0.01)
    assert float(by_pair["supplies – mental"][-1]) > 0.05 > float(by_pair["outpatient – mental"][-1])


def test_sources_are_found_without_the_determinant(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    text = printed("plot_ica", tmp_path, tmp_path / "elsewhere" / "picture.png")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    found = estimates(text)
    assert len(found) == 9 and all(line.off(line.value) < 4.5 for line in found.values())
    nearest = lambda name: np.fromstring(re.search(rf"with {name} +\[(.*)\]", text)[1], sep=" ")  # noqa: E731
    assert (nearest("sources found") > 0.99).all() and (nearest("uncorrelated columns") < 0.9).all()
    at_truth, at_zero = map(float, re.search(rf"{NUMBER} at the truth, {NUMBER} at W = 0", text).groups())
    assert at_zero > at_truth  # so the likelihood without the determinant would choose W = 0


def test_annealed_chains_find_the_shares_that_langevin_chains_do_not(tmp_path):
    text = printed("plot_annealed", tmp_path)
    share = dict(re.findall(rf"^(.*): share of the big mode {NUMBER} ±", text, re.MULTILINE))
    assert len(share) == 4 and float(share.pop("Langevin")) < 0.55
    assert all(abs(float(value) - 0.8) < 0.04 for value in share.values())
    assert abs(float(share["and Metropolis-adjusted"]) - 0.8) < 0.02


def test_only_unadjusted_chains_are_biased_by_their_step_size(tmp_path):
    text = printed("plot_mala", tmp_path)
    pattern = rf"^(.*), (ULA|MALA), step size {NUMBER}: {NUMBER} ± {NUMBER} +truth +{NUMBER}(.*)$"
    rows = re.findall(pattern, text, re.MULTILINE)
    assert len(rows) + text.count("nan ± nan") == 20
    for law, kind, *numbers, lost in rows:
        step_size, value, error, truth = map(float, numbers)
        expected = truth if kind == "MALA" else truth / (1 - step_size / 2) if law == "the normal law" else None
        assert expected is None or abs(value - expected) < 5 * error + 0.005
        assert not (kind == "MALA" and lost)
    assert "100% of the chains lost" in text
    assert float(re.search(rf"warm-up finds .* acceptance {NUMBER}", text)[1]) == pytest.approx(0.574, abs=0.06)


def test_jumps_find_all_patterns_of_a_hurdle_law_and_langevin_steps_alone_do_not(tmp_path):
    text = printed("plot_jump", tmp_path)
    away = {
        name: float(value)
        for name, value in re.findall(rf"^(.*): total variation of the patterns {NUMBER}", text, re.M)
    }
    assert list(away) == ["ULA", "MALA", "MALA and Jump"]
    assert away["MALA and Jump"] <= 0.02 and min(away["ULA"], away["MALA"]) > 0.9
    assert "!" not in text  # no doubts


def test_what_is_missing_is_drawn_from_what_is_there(tmp_path):
    text = printed("plot_imputation", tmp_path)
    zeros, drawn = map(float, re.search(rf"removed: {NUMBER} of them 0, of those drawn {NUMBER}", text).groups())
    assert abs(zeros - drawn) < 0.04
    ours, alone = map(float, re.search(rf"Brier score of zero: {NUMBER}, .* alone {NUMBER}", text).groups())
    assert ours < 0.9 * alone
    inpatient = re.findall(rf"inpatient .*: outpatient 0 with probability {NUMBER}, mean {NUMBER}$", text, re.MULTILINE)
    (share, mean), (share_stay, mean_stay) = (tuple(float(v.replace(",", "")) for v in row) for row in inpatient)
    assert share_stay < 0.5 * share and mean_stay > 2 * mean


def test_a_graph_is_found_where_the_largest_correlations_are_no_guide(tmp_path):
    text = printed("plot_graphical", tmp_path)
    true, found, right = map(int, re.search(r"edges: (\d+) true, (\d+) found, (\d+) of these", text).groups())
    assert true == 68 and right >= 66 and found - right <= 3
    assert int(re.search(r"hold (\d+) of the true", text)[1]) <= 62
    assert float(re.search(rf"root mean square error {NUMBER}", text)[1]) < 0.06


def test_annealed_draws_of_a_learnt_score_spread_along_the_curves(tmp_path):
    text = printed("plot_score_field", tmp_path)
    rows = re.findall(
        rf"^(.*): distance to the nearest row {NUMBER}; total variation of the arcs {NUMBER}$", text, re.M
    )
    near, away = ({row[0]: float(row[i]) for row in rows} for i in (1, 2))
    floor, alone = "blurred rows", "Langevin at the smallest level"
    assert list(near) == [floor, alone, "annealed Langevin", "predictor-corrector"]
    assert max(near.values()) < 3 * near[floor]
    assert all(away[floor] < away[name] < 0.8 * away[alone] for name in list(near)[2:])


def test_every_example_is_tested():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.stem}"' in tested for path in EXAMPLES.glob("plot_*.py"))


def test_prices_are_read_off_the_law_of_a_policy(tmp_path):
    text = printed("plot_pricing", tmp_path)
    assert re.search(r"claims +SemiContinuous +0: 8\d\.?\d? %, 200: 1\.\d+ %", text)
    for name, within in [("pure premium", 0.08), ("layer", 0.1), ("P(claim)", 0.06)]:
        ours, truth, corr = re.search(
            rf"{re.escape(name)} +total +{NUMBER}, truth +{NUMBER}; .* {NUMBER}", text
        ).groups()
        assert float(ours.replace(",", "")) == pytest.approx(float(truth.replace(",", "")), rel=within)
        assert float(corr) > 0.75
    mean, var, tvar = (float(v.replace(",", "")) for v in re.findall(rf"{NUMBER} ± ", text))
    assert mean < var < tvar


def test_rain_is_forecast_better_than_by_the_raw_ensemble(tmp_path):
    text = printed("plot_rain", tmp_path)
    assert re.search(r"rain +SemiContinuous +0: 6\d\.?\d? % +> 0 +0\.1", text)
    crps = dict(re.findall(rf"CRPS, (\S+(?: \S+)?) +{NUMBER} mm", text))
    brier = dict(re.findall(rf"dry day, (\S+(?: \S+)?) +{NUMBER}", text))
    for scores in (crps, brier):
        assert float(scores["ptilde"]) < 0.9 * float(scores["raw ensemble"]) < float(scores["climate"])
    assert float(re.search(rf"p-value {NUMBER}", text)[1]) > 0.001
    assert 0.88 < float(re.search(rf"interval holds {NUMBER}", text)[1]) < 0.99


def test_a_table_without_zeros_is_red_and_one_that_has_them_is_not(tmp_path):
    text = printed("plot_verdict", tmp_path)
    copula, density = (re.search(rf"^{name}: (\d+) good, (\d+) fair, (\d+) poor", text, re.M) for name in TABLES)
    assert int(copula[3]) >= 4 and int(density[3]) == 0 and int(density[1]) >= 6
    assert re.search(r"\[poor\] Is the mass on each atom right\?", text[: density.start()])


def test_ranks_of_the_truth_are_even_where_draws_are_right_and_three_mistakes_are_seen(tmp_path):
    text = printed("plot_calibration", tmp_path)
    found = {
        name: dict(re.findall(r"(\w+) (\d\.\d+)", rest))
        for name, rest in re.findall(r"^(.+): p-values (.*)$", text, re.M)
    }
    p_values = {name: {which: float(p) for which, p in row.items()} for name, row in found.items()}
    assert min(*p_values["groups told"].values(), *p_values["right"].values()) > 0.002
    assert max(p_values["groups not told"].values()) < 0.002  # of 2,000 simulations, so 0.0005 is the least
    assert p_values["body up to its constant"]["size"] < 0.002 < p_values["body up to its constant"]["log_sd"]
    assert p_values["stopped early"]["log_sd"] < 0.002
