"""Small models of the present format, kept for ever: `python tools/keep_models.py` writes them to tests/kept_models/.

Their laws are noise, as nothing is fitted: what is kept is that a file of each format still loads and says the same.
Beside each model stand rows and what the ptilde that wrote it said of them. A file that is there is left alone; so run
this when the format changes, before anything else does.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import ptilde
from ptilde import Categorical, Count, Interval, Positive, Real, Schema, SemiContinuous, modelfile, store
from ptilde.amounts import AmountDensity
from ptilde.joint import JointDensity
from ptilde.models import NoiseConditionalDensity, TriangularMap
from ptilde.strata import Gaussian, Layout
from ptilde.tabular.covariates import Covariates
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.frames import open_table
from ptilde.tabular.states import StateDensity

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "kept_models"
ROWS, WIDTH = 60, 3
SCHEMA = Schema(
    {
        "claim": SemiContinuous((0.0, 50.0), Interval(0, 50, grid=0.5), missing=True),
        "visits": Count(),
        "level": Categorical((1, 2, 5)),
        "where": Categorical(("ä", "b", "<b>"), missing=True),
        "real": Real((1, 0)),
        "size": Positive(),
    },
    {"id": "every value occurs once"},
)
TARGET = Schema({"paid": SemiContinuous((0.0,), Positive())})


def table(rng: np.random.Generator) -> pd.DataFrame:
    """A column of every kind."""
    claim = np.where(rng.random(ROWS) < 0.4, 0.0, np.minimum(np.ceil(rng.exponential(50, ROWS)) / 2, 50))
    real = rng.normal(0, 5, ROWS)
    columns = {
        "id": [f"r{i}" for i in range(ROWS)],
        "claim": np.where(rng.random(ROWS) < 0.2, np.nan, claim),
        "visits": rng.poisson(2, ROWS),
        "level": rng.choice([1, 2, 5], ROWS),
        "where": np.array(["ä", "b", None], object)[rng.integers(3, size=ROWS)],
        "real": np.where(rng.random(ROWS) < 0.5, np.rint(real), real),
        "size": rng.lognormal(size=ROWS),
    }
    return pd.DataFrame(columns)


def noise(rng, make, *sizes, **options):
    """A part whose weights are noise."""
    shapes = eqx.filter_eval_shape(partial(make, key=jax.random.key(0), **options), *sizes)
    return jax.tree.map(lambda leaf: (0.2 * rng.normal(size=leaf.shape)).astype(np.float32), shapes)


def law(rng, layout, rows, given=None):
    """States, a map, and scores behind it, of three neurons a layer."""
    d, m = len(layout.bodies), layout.num_context
    start = jnp.zeros(sum(layout.num_tokens))
    states = noise(rng, StateDensity, layout.num_tokens, WIDTH, start, layout.basis)
    gaussian = Gaussian.fit(layout, rows.state, rows.z, np.ones(ROWS), given)
    additive = layout.basis.num_features > 0
    transport = noise(rng, TriangularMap, d, m, WIDTH, depth=1, num_intervals=3, additive=additive)
    network = noise(rng, NoiseConditionalDensity, d, m, WIDTH, 1, 1)
    log_sigma, log_mass = np.log(np.float32([0.1, 2.5])), np.float32(0.1)
    return JointDensity(states, AmountDensity(layout, transport, gaussian, network, log_sigma, np.asarray(log_mass)))


def facts(names, **others):
    history = {"states": {"step": [1], "loss": [0.5], "terms": [[0.5]], "validation": [0.5]}}
    return {"seed": 0, "n_iter": 1, "fit_seconds": 0.5, "history": history, "names": list(names), **others}


def encoded(schema, opened, rng):
    columns = schema.check(opened)
    encoder = Encoder.fit(schema, columns, np.ones(ROWS), rng)
    return encoder, encoder.encode(columns, rng)


def density(path):
    """A ScoreDensity, its rows, and their log densities."""
    rng = np.random.default_rng(0)
    frame = table(rng)
    opened = open_table(frame)
    encoder, rows = encoded(SCHEMA, opened, rng)
    joint = law(rng, Layout.of(encoder), rows)
    modelfile.save(modelfile.Fitted(SCHEMA, opened.template, encoder, joint, facts(frame.columns)), path)
    some = frame[:20]
    return {"rows": columns_of(some), "log_density": ptilde.load(path).score_samples(some).tolist()}


def regressor(path):
    """A ScoreRegressor of two members, its rows, their log densities and means."""
    rng = np.random.default_rng(1)
    frame = table(rng)[["visits", "where", "size"]]
    y = pd.DataFrame({"paid": np.where(rng.random(ROWS) < 0.4, 0.0, rng.lognormal(1, 1, ROWS))})
    opened, targets = open_table(frame), open_table(y)
    encoder, rows = encoded(TARGET, targets, rng)
    covariates = Covariates.fit(opened, np.ones(ROWS))
    layout, given = Layout.of(encoder, covariates.basis), covariates.encode(opened)
    members = [law(rng, layout, rows, given) for _ in range(2)]
    members[0] = replace(members[0], amounts=replace(members[0].amounts, network=None))
    told = facts(frame.columns, single=True)
    modelfile.save(modelfile.Fitted(TARGET, opened.template, encoder, tuple(members), told, covariates), path)
    loaded, some, paid = ptilde.load(path), frame[:20], y["paid"][:20]
    found = {"log_density": loaded.score_samples(some, paid), "mean": loaded.predict(some)}
    return {"rows": columns_of(some), "y": paid.tolist()} | {name: array.tolist() for name, array in found.items()}


def columns_of(frame):
    """The columns as lists; an empty cell is null."""
    return {name: [None if pd.isna(v) else v for v in frame[name].tolist()] for name in frame}


def main():
    FOLDER.mkdir(exist_ok=True)
    for make in (density, regressor):
        path = FOLDER / f"{make.__name__}-format-{store.FORMAT}.ptilde"
        if not path.exists():
            path.with_suffix(".json").write_text(json.dumps(make(path), indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
