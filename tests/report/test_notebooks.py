"""What a notebook shows of models, schemas, chains and estimates: their text, escaped, and no script."""

import html

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import ptilde
from ptilde import Categorical, Real, Schema, ScoreDensity, ScoreRegressor
from ptilde.samplers.chains import Chains

HOSTILE = "<script>alert(1)</script>"


def chains():
    x = np.random.default_rng(0).normal(size=(4, 100, 1))
    ones = np.ones((4, 100))
    return Chains(x, ones, ones, ones < 0, 0.1, None, (HOSTILE,), exact=True)


def estimate():
    x = np.random.default_rng(0).normal(1.0, 2.0, 200)
    return ptilde.estimate(lambda t, x: -0.5 * (x - t[HOSTILE]) ** 2, {HOSTILE: 0.0}, x)


@pytest.mark.parametrize(
    "make",
    [lambda: Schema({HOSTILE: Real(), "b": Categorical(("<b>", "c"))}), chains, estimate],
    ids=["schema", "chains", "estimate"],
)
def test_a_notebook_shows_the_text_with_every_name_escaped(make):
    thing = make()
    text = thing._repr_html_()
    assert "<script" not in text and "<b>" not in text and html.escape(HOSTILE) in text
    assert html.unescape(text.removeprefix("<pre>").removesuffix("</pre>")) == str(thing)


def test_a_fitted_model_shows_how_it_was_fitted_and_what_its_columns_may_hold(rich_model):
    text = rich_model._repr_html_()
    assert "<script>" not in text and len(text) < 10_000
    assert html.escape(str(rich_model.schema_).splitlines()[2][:20]) in text
    assert f"fitted in {rich_model.n_iter_:,} steps" in text and f"seed {rich_model.seed_}" in text


@pytest.mark.parametrize("model", [ScoreDensity(max_iter=7), ScoreRegressor(max_iter=7)])
def test_jupyter_gets_that_text_and_not_the_diagram_of_scikit_learn_which_has_a_script(model):
    told = model._repr_mimebundle_(include=None, exclude=None)
    assert told["text/plain"] == repr(model) and "max_iter=7" in told["text/html"]
    assert told["text/html"] == model._repr_html_() and "<script" not in told["text/html"]
    # The sibling that must fail: scikit-learn's own.
    assert "<script" in LinearRegression()._repr_mimebundle_()["text/html"]
