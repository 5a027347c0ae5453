"""A model of every format that ever was still loads, and says what it said when it was written."""

import json
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import ptilde
from ptilde import store

KEPT = sorted((Path(__file__).parent / "kept_models").glob("*.ptilde"))


def told(model, kept):
    """What a model says of the rows that are kept beside it."""
    rows = pd.DataFrame(kept["rows"])
    if "y" not in kept:
        return {"log_density": model.score_samples(rows)}
    return {"log_density": model.score_samples(rows, kept["y"]), "mean": model.predict(rows)}


def agrees(model, kept):
    return all(np.allclose(found, kept[name], rtol=1e-6, atol=1e-6) for name, found in told(model, kept).items())


def test_both_kinds_of_the_present_format_are_kept_and_small():
    present = [f"{kind}-format-{store.FORMAT}" for kind in ("density", "regressor")]
    assert set(present) <= {path.stem for path in KEPT}
    assert sum(path.stat().st_size for path in KEPT) < 200_000


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_model_says_what_it_said(path):
    model, kept = ptilde.load(path), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert agrees(model, kept)
    # A ten-thousandth on every weight shows: the numbers that are kept do depend on them.
    name = "_joint" if path.stem.startswith("density") else "_members"
    setattr(model, name, jax.tree.map(lambda leaf: leaf + np.asarray(1e-4, leaf.dtype), getattr(model, name)))
    assert not agrees(model, kept)
