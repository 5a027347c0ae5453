"""A fit that is killed between any two chunks, or told to end, goes on and ends in the same model, bit for bit."""

import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pyarrow.csv
import pytest
import small_fit

import ptilde
from ptilde import DataError, ModelFileError
from ptilde.checkpoint import Checkpoint, digest
from ptilde.fit import descent

STEPS = 200  # of each descent: two chunks
small_schema = ptilde.Schema({"claim": ptilde.SemiContinuous((0.0,))})


def small_table():
    """One column, for few programs to compile."""
    return small_fit.small_table().select(["claim"])


class Killed(Exception):
    """In the place of a signal that leaves no time for anything."""


class Mortal(Checkpoint):
    """A checkpoint written after each chunk, whose process is killed just after the k-th, or in the middle of it."""

    def __init__(self, path, after=10**9, written=True):
        super().__init__(path, every=0.0)
        self.left, self.write_last, self.dead = after, written, False

    def reached(self, position):
        self.left -= 1
        if self.left <= 0:
            if self.write_last:
                super().reached(position)
            self.dead = True
            raise Killed
        super().reached(position)

    def write(self):
        if not self.dead:
            super().write()


def density(**options):
    return ptilde.ScoreDensity(schema=small_schema, random_state=0, max_iter=STEPS, **options)


@pytest.fixture(scope="module")
def undisturbed():
    return density().fit(small_table())


def assert_same_weights(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def num_chunks(undisturbed):
    """How often a descent tells where it stands: after each chunk, and when it is over."""
    return sum(len(history["step"]) + 1 for history in undisturbed.history_.values())


@pytest.mark.parametrize("share", [0.0, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("written", [True, False], ids=["just written", "not yet written"])
def test_killed_anywhere_it_goes_on_to_the_same_last_bit(undisturbed, num_chunks, tmp_path, share, written):
    path, after = tmp_path / "c", max(1, round(share * num_chunks))
    with pytest.raises(Killed):
        density().fit(small_table(), checkpoint=Mortal(path, after, written))
    assert path.exists() == (written or after > 1)
    model = density().fit(small_table(), checkpoint=Mortal(path))
    assert_same_weights(model._joint, undisturbed._joint)
    assert model.history_ == undisturbed.history_


def test_killed_again_and_again_it_still_arrives_there(undisturbed, num_chunks, tmp_path):
    path, lives = tmp_path / "c", 0
    while True:
        lives += 1
        try:
            model = density().fit(small_table(), checkpoint=Mortal(path, 4))
            break
        except Killed:
            assert lives < num_chunks
    assert lives >= num_chunks // 4
    assert_same_weights(model._joint, undisturbed._joint)


def test_a_process_that_dies_on_the_way_back_forgets_nothing(num_chunks, tmp_path):
    path = tmp_path / "c"
    with pytest.raises(Killed):
        density().fit(small_table(), checkpoint=Mortal(path, num_chunks - 1))
    before = path.read_bytes()
    back = Checkpoint(path)
    back.write()  # before the first descent has been asked for
    assert path.read_bytes() == before


def test_the_weights_that_were_kept_count_and_not_the_seed_alone(undisturbed, tmp_path, monkeypatch):
    """The sibling: a fit that goes on from the right place with other weights ends elsewhere."""
    path = tmp_path / "c"
    with pytest.raises(Killed):
        density().fit(small_table(), checkpoint=Mortal(path, 1))  # after the first chunk of the states
    begun = Checkpoint.begun

    def spoilt(self, start):
        at = begun(self, start)
        return at if at.walk is None or at.step == 0 else at._replace(walk=start.walk)

    monkeypatch.setattr(Checkpoint, "begun", spoilt)
    model = density().fit(small_table(), checkpoint=Mortal(path))
    with pytest.raises(AssertionError):
        assert_same_weights(model._joint, undisturbed._joint)


def test_a_fit_that_is_over_is_not_fitted_again(undisturbed, tmp_path):
    path, told = tmp_path / "c", []
    density().fit(small_table(), checkpoint=path)
    again = density(callback=told.append).fit(small_table(), checkpoint=path)
    assert_same_weights(again._joint, undisturbed._joint)
    assert not told
    seedless = ptilde.ScoreDensity(schema=small_schema, max_iter=STEPS).fit(small_table(), checkpoint=path)
    assert seedless.seed_ == 0  # of the fit that it goes on with


def test_another_table_or_other_settings_are_refused_by_name(tmp_path):
    path = tmp_path / "c"
    with pytest.raises(Killed):
        density().fit(small_table(), checkpoint=Mortal(path, 2))
    changed = small_table().set_column(0, "claim", [np.append(1.25, small_table()["claim"].to_numpy()[1:])])
    other = ptilde.ScoreDensity(schema=small_schema, random_state=1, max_iter=STEPS + 1)
    for model, table, weight, named in [
        (density(), changed, None, "`table`"),
        (density(), small_table(), np.arange(1.0, 401.0), "`table`"),
        (other, small_table(), None, "`seed`, `max_iter`"),
        (density(time_budget=9.0), small_table(), None, "`time_budget`"),
    ]:
        with pytest.raises(DataError, match=rf"is of another fit: {named} differ\. Give the same table and settings"):
            model.fit(table, sample_weight=weight, checkpoint=path)


def test_a_spoilt_file_and_one_of_another_kind_are_refused(fitted_path, tmp_path):
    path = tmp_path / "c"
    with pytest.raises(Killed):
        density().fit(small_table(), checkpoint=Mortal(path, 2))
    blob = path.read_bytes()
    for spoilt in (blob[:-1], blob[:100], blob[:-9] + b"x" + blob[-8:], fitted_path.read_bytes(), b""):
        path.write_bytes(spoilt)
        with pytest.raises(ModelFileError, match="Or delete it, to begin the fit anew"):
            density().fit(small_table(), checkpoint=path)


def test_a_file_of_other_networks_is_refused_and_one_of_nothing_is_not_written(tmp_path):
    path = tmp_path / "c"
    Checkpoint(path).write()
    assert not path.exists()  # no descent has begun
    with pytest.raises(Killed):
        density().fit(small_table(), checkpoint=Mortal(path, 1))
    wrong = Checkpoint(path)
    start = descent.Position(None, {"w": np.zeros(3, np.float32)}, (), (), 0, 0, 1, 0, 0.0, ([], [], [], []))
    with pytest.raises(ModelFileError, match=r"does not fit the networks of this fit.*Delete it to begin anew"):
        wrong.begun(start)


def test_where_it_cannot_be_written_the_fit_goes_on_with_a_warning(undisturbed, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    checkpoint = Mortal(folder / "c")
    shutil.rmtree(folder)
    with pytest.warns(RuntimeWarning, match="goes on without a checkpoint.*does not exist"):
        model = density().fit(small_table(), checkpoint=checkpoint)
    assert_same_weights(model._joint, undisturbed._joint)


@pytest.mark.slow
def test_a_regressor_goes_on_in_the_member_where_it_was(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = np.where(rng.random(400) < 0.4, 0.0, np.exp(X[:, 0] + rng.normal(size=400)))
    make = lambda: ptilde.ScoreRegressor(n_estimators=2, random_state=0, max_iter=STEPS)  # noqa: E731
    whole, path = make().fit(X, y), tmp_path / "c"
    num = sum(len(history["step"]) + 1 for history in whole.history_.values())
    for after in (2, num // 2, 3):
        with pytest.raises(Killed):
            make().fit(X, y, checkpoint=Mortal(path, after))
    model = make().fit(X, y, checkpoint=path)
    assert_same_weights(model._members, whole._members)
    with pytest.raises(DataError, match="`table` differ"):
        make().fit(X, y[::-1], checkpoint=path)
    with pytest.raises(DataError, match="`n_estimators` differ"):
        make().set_params(n_estimators=3).fit(X, y, checkpoint=path)


def test_a_digest_tells_values_types_and_order_apart():
    numbers = np.array([1.0, 2.0])
    same = digest("a", numbers)
    assert same == digest("a", numbers.copy()) != digest("a", numbers[::-1])
    words = np.array(["x", None], object)
    assert len({same, digest("b", numbers), digest("a", numbers.astype(np.float32)), digest("a", words)}) == 4


def started(path, output, *options):
    code = "from ptilde.cli import work; work.LONG_FIT = 0.0; from ptilde.cli import main; main()"
    arguments = ["fit", str(path), "-o", str(output), "--max-iter", "3000", *options]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["kill", "term", "int"])
def test_the_command_goes_on_after_a_signal_and_leaves_nothing_but_the_model(tmp_path, number):
    table, output = tmp_path / "t.csv", tmp_path / "m.ptilde"
    pyarrow.csv.write_csv(small_table(), table)
    kept = tmp_path / "m.ptilde.checkpoint"
    process = started(table, output)
    while not kept.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(number)
    words = process.communicate()[1]
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert kept.exists() and not output.exists()
    if number != signal.SIGKILL:
        assert "interrupted; add --resume to the command, and it goes on from" in words.splitlines()[-1]
    process = started(table, output, "--resume")
    words = process.communicate()[1]
    assert process.returncode == 0 and "going on from there" in words
    assert sorted(os.listdir(tmp_path)) == ["m.ptilde", "t.csv"]
