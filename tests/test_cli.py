"""The command line: each command does what Python does, streams are kept apart, and nothing is left half-written."""

import os
import re
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import small_fit

import ptilde
from ptilde.cli import progress, work
from ptilde.cli.console import plain
from ptilde.cli.errors import run
from ptilde.launch import parts
from ptilde.tabular.reader import read_table, write_table

PTILDE = [sys.executable, "-c", "from ptilde.cli import main; main()"]


@pytest.fixture
def table_path(fitted_table, tmp_path):
    path = tmp_path / "small.csv"
    write_table(fitted_table, path)
    return path


@pytest.fixture
def schema_path(tmp_path):
    path = tmp_path / "schema.toml"
    small_fit.small_schema.to_toml(path)
    return path


def test_help_names_every_command_and_loads_nothing_heavy():
    code = (
        "import sys; from ptilde.cli.errors import run; run(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("demo", "schema", "fit", "sample", "score", "inspect", "version"):
        assert re.search(rf"^\W*{command}\b", done.stdout, re.MULTILINE)
    assert not {"jax", "numpy", "pyarrow", "sklearn", "matplotlib"} & set(done.stderr.split())


def test_version_says_the_versions_without_loading_them():
    code = "import sys; from ptilde.cli.errors import run; run(['version']); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"ptilde {ptilde.__version__}"
    assert done.stdout.splitlines()[-1] == "False"


def test_schema_prints_toml_on_stdout_and_a_table_for_people_on_stderr(table_path, tmp_path, capsys):
    assert run(["schema", str(table_path)]) == 0
    out, err = capsys.readouterr()
    (tmp_path / "found.toml").write_text(out)
    found = ptilde.Schema.from_toml(tmp_path / "found.toml")
    assert found == ptilde.Schema.infer(read_table(table_path))
    assert "SemiContinuous" in err and "claim" in err


def test_fit_gives_the_model_that_python_gives(table_path, schema_path, tmp_path, fitted_model, fitted_table, capsys):
    out = tmp_path / "small.ptilde"
    limits = ["--seed", "0", "--max-iter", str(small_fit.MAX_ITER)]
    assert run(["fit", str(table_path), "--schema", str(schema_path), *limits, "-o", str(out)]) == 0
    assert "Read 400 rows and 4 columns." in capsys.readouterr().err
    ours = ptilde.load(out).score_samples(fitted_table)
    np.testing.assert_allclose(ours, fitted_model.score_samples(fitted_table), rtol=1e-5)


def test_fit_names_the_columns_it_leaves_out(table_path, tmp_path, capsys, monkeypatch):
    frame = read_table(table_path).append_column("always", pa.array([7.0] * 400))
    write_table(frame, table_path)
    assert run(["fit", str(table_path), "--max-iter", "1", "-o", str(tmp_path / "m.ptilde")]) == 0
    assert "Left out 'always': constant: always 7" in capsys.readouterr().err


def test_sample_writes_the_rows_that_python_draws(fitted_path, fitted_model, tmp_path, capsys):
    for seed, suffix in ((0, ".csv"), (5, ".parquet")):
        out = tmp_path / f"drawn{suffix}"
        assert run(["sample", str(fitted_path), "-n", "40", "--seed", str(seed), "-o", str(out)]) == 0
        expected = fitted_model.sample(40, random_state=seed)
        drawn = read_table(out)
        assert drawn.column_names == expected.column_names
        np.testing.assert_allclose(drawn["claim"].to_numpy(), expected["claim"].to_numpy(), rtol=1e-6)
        assert drawn["region"].to_pylist() == expected["region"].to_pylist()
    assert capsys.readouterr().out == ""


def test_a_large_table_is_drawn_in_parts_that_differ(fitted_model, monkeypatch):
    monkeypatch.setattr(parts, "PART", 30)
    drawn = work.draw(fitted_model, 70, 3)
    assert drawn.num_rows == 70
    share = drawn["share"].to_numpy()
    np.testing.assert_array_equal(share[:30], fitted_model.sample(30, random_state=3)["share"].to_numpy())
    assert len(np.unique(share)) == 70


def test_score_adds_the_log_density_and_prints_its_mean(fitted_path, fitted_model, table_path, tmp_path, capsys):
    out = tmp_path / "scored.csv"
    assert run(["score", str(fitted_path), str(table_path), "-o", str(out)]) == 0
    scored, table = read_table(out), read_table(table_path)
    expected = fitted_model.score_samples(table)
    assert scored.column_names == [*table.column_names, "log_density"]
    np.testing.assert_allclose(scored["log_density"].to_numpy(), expected, rtol=1e-6)
    assert capsys.readouterr().out == f"mean log density: {expected.mean():.4f} nats a row, over 400 rows\n"


def test_scores_do_not_depend_on_the_parts(fitted_model, fitted_table, table_path, monkeypatch):
    monkeypatch.setattr(parts, "PART", 70)
    made = pa.concat_tables(parts.Score(str(table_path)).parts(fitted_model, range(6)))
    whole = fitted_model.score_samples(fitted_table)
    np.testing.assert_allclose(made["log_density"].to_numpy(), whole, rtol=1e-4, atol=1e-4)


def test_columns_in_another_order_get_the_same_scores(fitted_path, fitted_table, tmp_path, capsys):
    write_table(fitted_table, tmp_path / "a.parquet")
    write_table(fitted_table.select(["region", "share", "claim", "rain"]), tmp_path / "b.parquet")
    for name in "ab":
        assert (
            run(["score", str(fitted_path), str(tmp_path / f"{name}.parquet"), "-o", str(tmp_path / f"{name}.csv")])
            == 0
        )
    first, second = (read_table(tmp_path / f"{name}.csv")["log_density"].to_numpy() for name in "ab")
    np.testing.assert_array_equal(first, second)


def test_impute_fills_the_empty_cells(fitted_path, fitted_model, table_path, tmp_path, capsys):
    holed, out = read_table(table_path).to_pandas().head(30), tmp_path / "whole.csv"
    holed.loc[:9, "claim"], holed.loc[5:6, "region"] = np.nan, None
    holed.to_csv(tmp_path / "holed.csv", index=False)
    assert run(["impute", str(fitted_path), str(tmp_path / "holed.csv"), "-o", str(out), "--seed", "3"]) == 0
    whole = read_table(out).to_pandas()
    assert whole.equals(fitted_model.impute(read_table(tmp_path / "holed.csv"), random_state=3).to_pandas())
    assert not whole.isna().any(axis=None) and whole[10:].equals(holed[10:])
    assert "Wrote 30 rows to " in capsys.readouterr().err


def test_inspect_says_what_is_in_the_file_and_runs_nothing(fitted_path):
    code = "import sys; from ptilde.cli.errors import run; run(sys.argv[1:]); print('jax' in sys.modules)"
    command = [sys.executable, "-c", code, "inspect", str(fitted_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"ptilde {ptilde.__version__}" in done.stdout
    assert re.search(r"^rain +SemiContinuous", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
def test_the_demo_says_its_verdict_and_writes_its_three_files(tmp_path, capsys):
    assert run(["demo", "--out", str(tmp_path / "demo"), "--max-iter", "60"]) == 0
    out = capsys.readouterr().out
    for word in ("outpdol", "Mass at each atom", "99 % model", "AUC", "nats a row", "normalised", "synthetic.csv"):
        assert word in out
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == ["randhie.ptilde", "synthetic.csv", "verdict.html"]
    assert ptilde.load(tmp_path / "demo" / "randhie.ptilde").n_features_in_ == 5
    assert read_table(tmp_path / "demo" / "synthetic.csv").num_rows == 15_142


# --- what a person sees, and what a process leaves -------------------------------------------------------------------


def event(step, stage="scores"):
    return types.SimpleNamespace(
        stage=stage, step=step, num_steps=100, train_loss=1.25, validation_loss=None, eta_seconds=240.0
    )


def test_without_a_terminal_progress_is_a_plain_line_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.fit_progress() as tell:
        for step in range(30):
            now[0] += 1.0
            tell(event(step))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"scores: step {step} of 100, loss 1.250, 4 min left" for step in (9, 19, 29)]


def test_on_a_terminal_progress_is_a_bar(monkeypatch):
    shown = []
    bars = types.SimpleNamespace(
        add_task=lambda name, **_: shown.append(name) or name, update=lambda *a, **k: shown.append(k)
    )
    tell = progress._Bars(bars)
    tell(event(10, "states"))
    tell(event(20))
    assert [s for s in shown if isinstance(s, str)] == ["states", "scores"]
    assert shown[-1] == {"completed": 20, "total": 100, "words": "loss 1.250, 4 min left"}


def test_control_characters_are_written_out():
    assert plain("a\x1b[31mb\x07\nc\x9bé") == "a\\x1b[31mb\\x07\nc\\x9bé"


def test_a_column_name_cannot_command_the_terminal(tmp_path, capsys):
    name = "\x1b[31m[bold]red[/bold]"
    write_table(pa.table({name: np.random.default_rng(0).normal(size=50)}), tmp_path / "t.parquet")
    assert run(["schema", str(tmp_path / "t.parquet")]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "[bold]red[/bold]" in err


def test_a_reader_that_leaves_is_no_error(table_path):
    process = subprocess.Popen([*PTILDE, "schema", str(table_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    err = process.stderr.read().decode()
    assert process.wait() == 141
    assert "Traceback" not in err and "Broken pipe" not in err


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_fit_says_so_in_a_line_and_leaves_no_model(table_path, tmp_path, number, code):
    before = set(os.listdir(tmp_path))
    command = [*PTILDE, "fit", str(table_path), "--max-iter", "1000000", "-o", str(tmp_path / "m.ptilde")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("Read 400 rows")
    time.sleep(3)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert "Traceback" not in err
    left, kept = set(os.listdir(tmp_path)) - before, tmp_path / "m.ptilde.checkpoint"
    assert left <= {kept.name}  # before the first descent there is nothing to go on from
    word = f"add --resume to the command, and it goes on from {kept}" if left else "nothing was written"
    assert err.splitlines()[-1] == f"ptilde: interrupted; {word}."


def test_a_failed_write_keeps_the_old_file(fitted_path, table_path, tmp_path, monkeypatch, capsys):
    out = tmp_path / "drawn.csv"
    out.write_text("old")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = set(os.listdir(tmp_path))
    assert run(["sample", str(fitted_path), "-n", "5", "-o", str(out)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert out.read_text() == "old"
    assert set(os.listdir(tmp_path)) == before
