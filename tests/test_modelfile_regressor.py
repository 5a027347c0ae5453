"""A regressor comes back from its file bit for bit, its covariates with it; what no file of ours says is refused."""

import json
import pickle
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
from gaussian_strata import noise
from model_files import edited, opened, places, take_apart
from sklearn.base import clone

import ptilde
from ptilde import ModelFileError, Positive, ScoreRegressor, SemiContinuous
from ptilde import train as training
from ptilde.joint import JointDensity
from ptilde.models import NoiseConditionalDensity, TriangularMap

KIND = SemiContinuous((0.0,), Positive())


def claims(n=90, seed=0):
    """Numbers, text with empty cells, a categorical of numbers; claims; exposures."""
    rng = np.random.default_rng(seed)
    town = np.array(["a", "b", None], object)[rng.integers(3, size=n)]
    zone = pd.Categorical(rng.choice([10, 20], n))
    table = pd.DataFrame({"age": rng.gamma(3, 10, n), "town": town, "zone": zone})
    y = np.where(rng.random(n) < 0.4, 0.0, rng.lognormal(1, 1, n))
    return table, pd.Series(y, name="claim"), rng.uniform(0.2, 1, n)


@pytest.fixture(scope="module")
def model():
    """Two members, not trained but moved by noise: the first has a map, the second a network behind one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "FEWEST_ROWS", 10_000)
        patch.setattr(training, "FEW_ROWS", 10_000)  # nothing is held out, so nothing is descended
        table, y, exposure = claims()
        model = ScoreRegressor(KIND, n_estimators=2, random_state=3).fit(table, y, exposure=exposure)
    members = []
    for k, joint in enumerate(model._members):
        m = joint.amounts.layout.num_context
        transport = noise(TriangularMap, 1, m, 6, 1, 1, 5, True, seed=k, scale=0.2)
        network = noise(NoiseConditionalDensity, 1, m, 6, 1, seed=k, scale=0.1) if k else None
        states = jax.tree.map(lambda a, k=k: a + np.float32(0.01 * (k + 1)), joint.states)
        members.append(JointDensity(states, replace(joint.amounts, transport=transport, network=network)))
    model._members = tuple(members)
    return model


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("regressor") / "m.ptilde"
    model.save(path)
    return path


def assert_same_law(ours, theirs):
    assert jax.tree.structure(ours._members) == jax.tree.structure(theirs._members)
    for a, b in zip(jax.tree.leaves(ours._members), jax.tree.leaves(theirs._members), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), strict=True)
    table, y, exposure = claims(20, seed=1)
    for ask in (
        lambda m: m.score_samples(table, y, exposure=exposure),
        lambda m: m.predict(table, exposure=exposure),
        lambda m: m.predict_quantile(table, [0.1, 0.9], exposure=exposure),
        lambda m: m.predict_atoms(table, exposure=exposure)[0.0],
        lambda m: m.sample(table, 3, exposure=exposure),
        lambda m: m.aggregate(table, 10, exposure=exposure).total,
    ):
        np.testing.assert_array_equal(ask(theirs), ask(ours))


def test_the_model_that_comes_back_is_the_same_bit_for_bit_and_so_is_its_file(model, path, tmp_path):
    loaded = ptilde.load(path)
    assert type(loaded) is ScoreRegressor
    assert_same_law(model, loaded)
    names = "schema_", "_template", "history_", "seed_", "n_iter_", "fit_seconds_", "n_features_in_", "_single"
    for name in names:
        assert getattr(loaded, name) == getattr(model, name), name
    assert list(loaded.feature_names_in_) == ["age", "town", "zone"] and loaded.n_estimators == 2
    assert model._covariates.levels["town"] == ("a", "b", None)  # levels with an empty cell among them came back, too
    loaded.save(tmp_path / "again.ptilde")
    assert (tmp_path / "again.ptilde").read_bytes() == path.read_bytes()


def test_a_pickle_is_the_same_and_a_clone_has_nothing_of_the_fit(model):
    assert_same_law(model, pickle.loads(pickle.dumps(model)))
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert not [name for name in vars(copied) if name.endswith("_") or name.startswith("_")]


@pytest.fixture(scope="module")
def parts(path):
    return opened(path)


def test_the_helper_of_these_tests_leaves_a_good_file_good(parts, model):
    config, load_with, *_ = parts
    assert_same_law(model, load_with(config))


NO_LEVELS, MANY = [["town", []]], [f"t{i}" for i in range(300)]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("kind",), "ScoreDensity"),
        (("kind",), "ScoreThing"),
        (("members",), []),
        (("members",), 10**9),
        (("members",), {}),
        (("covariates", "numeric", 0, 1), 0),
        (("covariates", "numeric", 0, 1), 12),
        (("covariates", "numeric", 0, 1), 10**9),
        (("covariates", "numeric", 0, 0), "other"),
        (("covariates", "numeric", 0, 0), "town"),
        (("covariates", "levels", 0, 1), MANY),
        (("covariates", "levels", 0, 1), [["a"], "b", None]),
        (("covariates", "levels", 0, 1), ["a", "b"]),
        (("covariates", "levels"), NO_LEVELS * 200_000),
        (("members", 0, "states", "width"), 10**9),
        (("members", 1, "amounts", "map", "width"), 10**9),
        (("members", 1, "amounts", "network", "depth"), 10**9),
        (("members", 1, "amounts", "network"), None),
        (("facts", "single"), 1),
        (("facts", "names"), ["age", "zone", "town"]),
        (("layout", "num_tokens"), [3]),
    ],
    ids=lambda v: repr(v)[:50],
)
def test_a_config_that_no_file_of_ours_has_is_refused(parts, at, value):
    config, load_with, *_ = parts
    with pytest.raises(ModelFileError) as refusal:
        load_with(edited(config, at, value))
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500


def test_members_more_than_any_ensemble_has_are_refused_before_any_is_made(parts):
    config, load_with, *_ = parts
    with pytest.raises(ModelFileError, match="members"):
        load_with(config | {"members": config["members"][:1] * 1001})


def test_a_config_without_one_of_its_keys_is_refused(parts):
    config, load_with, *_ = parts
    ours = [("covariates",), ("members",), ("facts", "single"), ("covariates", "numeric"), ("covariates", "levels")]
    ours += [p for p in places(config["members"][1], ("members", 1)) if isinstance(p[-1], str)]
    for at in ours:
        with pytest.raises(ModelFileError, match="its config is not one that ptilde writes"):
            load_with(edited(config, at))
            pytest.fail(f"loaded without {at}")


@pytest.mark.parametrize("value", [None, -1, "x"], ids=repr)
def test_another_value_among_covariates_and_members_is_refused_or_is_a_level(parts, value):
    config, load_with, *_ = parts
    for at in (*places(config["covariates"], ("covariates",)), *places(config["members"][1], ("members", 1))):
        other = edited(config, at, value)
        if other == config:
            continue
        try:
            load_with(other)
        except ModelFileError:
            continue
        level = at[:2] == ("covariates", "levels") and at[3:4] == (1,) and len(at) == 5
        rotates = at[-1] == "rotate" and isinstance(value, bool)
        assert level or rotates, f"loaded with {value!r} at {at}"


def test_knots_that_do_not_increase_are_refused_by_name(parts):
    config, load_with, document, data = parts
    begin, _ = document["covariate.0"]["data_offsets"]
    spoilt = data[:begin] + data[begin + 8 : begin + 16] + data[begin + 8 :]
    with pytest.raises(ModelFileError, match=r"the numbers of array 'covariate\.0' do not increase"):
        load_with(config, data=spoilt)


def test_a_config_of_one_kind_with_the_parts_of_the_other_is_refused(parts, fitted_path):
    config, load_with, *_ = parts
    density = json.loads(take_apart(fitted_path.read_bytes())[0]["__metadata__"]["ptilde"])["config"]
    with pytest.raises(ModelFileError):
        load_with(density)
    with pytest.raises(ModelFileError):
        load_with(density | {"kind": "ScoreRegressor", "members": config["members"]})


def test_a_density_is_still_loaded_as_one(fitted_path):
    assert type(ptilde.load(fitted_path)) is ptilde.ScoreDensity
