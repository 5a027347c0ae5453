"""The verdict says what the numbers say, and the page shows it without running or fetching anything."""

import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from ptilde import Categorical, DataError, Positive, Real, Schema, SemiContinuous, _json
from ptilde.diagnostics import Bounded
from ptilde.report import evidence, measure, measure_tables, write_page
from ptilde.report.machine import plain
from ptilde.report.page import page
from ptilde.report.rows import opened

HOSTILE = {
    "amount": "<script>alert(1)</script>",
    "length": "$x_{1$ \\frac \x1b[31mred\x07",
    "word": '"><img src=x onerror=alert(1)>',
}


class Stub:
    """A model whose density is a constant, or worse."""

    def __init__(self, schema, log_density=-3.0, ode_gap=0.01, log_z=0.01, slope=1.0):
        self.slope = slope
        self.schema_, self.log_density, self.ode_gap, self.log_z = schema, log_density, ode_gap, log_z
        curve = {"step": [0, 10, 20], "loss": [2.0, 1.5, 1.0], "validation": [None, 1.6, 1.2]}
        self.history_ = {"states": curve, "scores": curve}
        self.n_iter_, self.seed_, self.fit_seconds_ = 20, 7, 1.5

    def score_samples(self, X, method="one_pass"):
        return np.full(len(X), self.log_density + (self.ode_gap if method == "ode" else 0.0))

    def grad_log_density(self, X):
        """The score of the body of the table's law, in the columns of `table`."""
        amount, length = (np.asarray(X.column(j), float) for j in (0, min(1, X.num_columns - 1)))
        with np.errstate(divide="ignore"):
            slope = -(1 + np.log(amount) - 3) / amount
        slope[(amount == 0) | (amount == 200)] = np.nan
        return np.column_stack([slope, self.slope * -length, np.full(len(X), np.nan)])[:, : X.num_columns]

    def log_normalizer(self):
        return self.log_z, 0.005


def schema(names):
    kinds = {"amount": SemiContinuous((0.0, 200.0)), "length": Real(), "word": Categorical(("a", "</svg>"))}
    return Schema({names.get(name, name): kind for name, kind in kinds.items()})


def table(seed, rows=600, zero=0.3, scale=1.0, names=(), a=0.5):
    rng = np.random.default_rng(seed)
    u = rng.random(rows)
    columns = {
        "amount": np.where(u < zero, 0.0, np.where(u > 0.9, 200.0, scale * rng.lognormal(3, 1, rows))),
        "length": rng.normal(size=rows),
        "word": np.where(rng.random(rows) < a, "a", "</svg>"),
    }
    return pa.table({dict(names).get(name, name): column for name, column in columns.items()})


def verdict(names=(), draws=None, **faults):
    names = dict(names)
    draws = table(3, 1200, names=names) if draws is None else draws
    model = Stub(schema(names), **faults)
    return measure(model, table(1, names=names), table(2, names=names), draws, num_ode_rows=50)


@cache
def sound(names=()):
    return verdict(names)


@cache
def written(names=()):
    return page(sound(names), "A title & <b>more</b>")


@pytest.fixture(scope="module")
def good():
    return sound()


def clipped(draws, limit=70.0):
    """The draws with amounts off the atoms cut at a limit that one real amount in ten exceeds."""
    amount = np.asarray(draws["amount"])
    return draws.set_column(0, "amount", [np.where(amount == 200, 200, np.minimum(amount, limit))])


def tied(draws):
    """The draws with lengths that go with the amounts, each column's law as it was."""
    amount, length = (np.asarray(draws[name]) for name in ("amount", "length"))
    order = np.argsort(np.argsort(amount + 30 * np.random.default_rng(9).normal(size=len(amount))))
    return draws.set_column(1, "length", [np.sort(length)[order]])


def marks(found):
    return {finding.question: finding.mark for finding in found.findings}


def test_a_faithful_model_gets_no_bad_mark(good):
    assert set(marks(good).values()) <= {"good", "none"}


CLASSIFIER, SCORE = "Can a classifier tell drawn rows from held-out ones?", "Do held-out rows have the model's score?"
MEMORY, TAILS = "Does it repeat the rows that it was made from?", "Are the tails right?"
LAW, BODY = "Do so many rows tell the two laws apart?", "Is the body of each column right?"
ATOMS, CATEGORIES = "Is the mass on each atom right?", "Is the share of each category right?"
TOGETHER, MASS = "Do columns hang together as they should?", "Is the density normalised?"
ROUTES = "Do the two routes to the density agree?"


@pytest.mark.parametrize(
    ("faults", "questions"),
    [
        ({"draws": table(3, 1200, scale=3.0)}, {CLASSIFIER, LAW, BODY, TAILS}),
        ({"log_z": 0.5, "ode_gap": 0.9, "slope": 2.0}, {MASS, ROUTES, SCORE}),
        ({"draws": tied(table(3, 1200, zero=0.5, a=0.7))}, {ATOMS, CATEGORIES, TOGETHER}),
        ({"draws": clipped(table(3, 1200))}, {TAILS}),
        ({"draws": table(1)}, {MEMORY}),  # the rows of the fit
    ],
)
def test_each_fault_is_seen_by_its_questions(faults, questions):
    found = marks(verdict(**faults))
    assert {found[question] for question in questions} == {"poor"}


def test_the_sentences_hold_the_numbers(good):
    said = " ".join(finding.answer for finding in good.findings)
    assert f"AUC {good.comparison.auc.value:.3f}" in said
    assert "-3.000 ± 0.000 nats a row on average over 600 rows" in said
    assert "0.010 nats over 50 rows, 100.0 % of which agree to a nat" in said


@pytest.fixture(scope="module")
def partly():
    """A model that holds one row impossible, of a table with a column in steps, judged without the rows of its fit."""

    class Partly(Stub):
        def score_samples(self, X, method="one_pass"):
            return np.where(np.arange(len(X)) == 0, -np.inf, -2.0)

    kinds = {"amount": SemiContinuous((0.0, 200.0)), "length": Real(grid=0.1), "word": Categorical(("a", "</svg>"))}
    return measure(Partly(Schema(kinds), slope=2.0), None, table(2), table(3, 1200))


def test_rows_outside_the_support_are_counted_and_left_out_of_the_mean(partly):
    assert partly.density.log_density.value == -2.0
    assert partly.density.num_outside == 1
    assert "1 of which lie outside the model's support" in " ".join(f.answer for f in partly.findings)


def test_without_the_rows_of_the_fit_the_floor_is_of_halves_and_memory_is_not_asked_about(partly):
    both = np.sort(np.concatenate([partly.train["length"], partly.test["length"]]))
    np.testing.assert_array_equal(both, np.sort(table(2)["length"].to_numpy()))
    assert marks(partly)[MEMORY] == "none"
    words = " ".join(" ".join(Seen(page(partly, "t")).text).split())
    assert "held against 300 rows it has not seen and 300 more for the floors" in words


def test_columns_recorded_in_steps_are_said_to_be_left_out_of_the_test_of_the_score(partly):
    assert partly.density.score.columns == ("amount",) and partly.density.score.on_grid == ("length",)
    assert marks(partly)[SCORE] == "good"  # its score of the length is wrong
    assert "recorded in steps: length" in next(f.answer for f in partly.findings if f.question == SCORE)


def test_rows_a_hair_from_those_of_the_fit_are_no_copies_and_are_seen_all_the_same():
    train, test = (opened(schema({}), table(seed), "rows") for seed in (1, 2))
    found = evidence.memory(schema({}), train, test, train | {"length": train["length"] + 1e-4}, 0, unseen=True)
    assert found.copies.value.value == 0.0
    assert found.closest.nearer_to_train.value > 0.9 and found.closest.p_value < 1e-6


def test_a_synthetic_table_is_judged_without_a_model():
    found = measure_tables(table(1), table(3, 1200), table(2))
    assert found.density is None and set(marks(found).values()) == {"good"}
    assert "orange is synthetic" in page(found, "t") and "Training" not in page(found, "t")


def test_half_of_the_real_rows_are_the_floor_where_no_others_are_given():
    found = measure_tables(table(1), table(1))
    assert len(found.train["length"]) == len(found.test["length"]) == 300
    assert found.memory.closest is None and found.memory.copies == (
        (1.0, *found.memory.copies.value[1:]),
        (0.0, *found.memory.copies.floor[1:]),
    )
    assert marks(found)[MEMORY] == "poor"


def test_machines_get_the_numbers_of_the_sentences_as_strict_json(good):
    told = _json.loads(_json.dumps(good.to_dict()))
    assert told["rows"] == {"train": 600, "test": 600, "draws": 1200}
    assert [tuple(f.values()) for f in told["findings"]] == [tuple(f) for f in good.findings]
    assert told["comparison"]["auc"]["value"] == good.comparison.auc.value
    assert told["comparison"]["atoms"]["amount"]["200"][1]["value"] == good.comparison.atoms["amount"][200.0][1].value
    assert told["density"]["fitted"] == {"steps": 20, "seed": 7, "seconds": 1.5}


def test_a_number_that_is_none_is_null_for_machines():
    assert plain({0.5: Bounded(1.0, -np.inf, np.nan)}) == {"0.5": {"value": 1.0, "low": None, "high": None}}


def test_a_notebook_shows_the_findings_with_every_name_escaped():
    found = sound(tuple(HOSTILE.items()))
    text = found._repr_html_()
    assert Seen(text).tags.count("li") == len(found.findings)
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (table(3, 19), "The synthetic rows must have 20 rows or more to be compared; got 19."),
        (table(3).drop_columns("length"), "got none named 'length'"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(draws, message):
    with pytest.raises(DataError, match=message):
        measure_tables(table(1), draws)


class Seen(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module", params=[(), tuple(HOSTILE.items())], ids=["plain", "hostile"])
def seen(request):
    text = written(request.param)
    return Seen(text), text


def test_the_page_runs_nothing_whatever_the_names(seen):
    parsed, _ = seen
    assert not {"script", "img", "iframe", "object", "embed", "link", "b", "foreignobject"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    policy = next(value for name, value in parsed.attributes if name == "content" and "default-src" in (value or ""))
    assert policy.startswith("default-src 'none'")


def test_the_page_fetches_nothing(seen):
    parsed, text = seen
    outside = [
        v for k, v in parsed.attributes if k in ("src", "href", "xlink:href") and not v.startswith(("#", "data:"))
    ]
    assert outside == []
    assert not re.search(r"url\((?!#)", text) and "@import" not in text
    assert len(text.encode()) < 2_000_000


def test_every_picture_is_told_in_words_and_every_id_is_one(seen):
    parsed, _ = seen
    labels = [value for name, value in parsed.attributes if name == "aria-label"]
    assert len(labels) == parsed.tags.count("svg") >= 5
    assert all(labels)
    ids = [value for name, value in parsed.attributes if name == "id" and value.startswith(("p", "m"))]
    clips = [value for value in ids if re.fullmatch(r"[pm][0-9a-f]{8,}", value)]
    assert len(clips) == len(set(clips))


def test_names_stand_on_the_page_as_they_are():
    parsed = Seen(written(tuple(HOSTILE.items())))
    text = " ".join(parsed.text)
    assert "<script>alert(1)</script>" in text
    assert "$x_{1$ \\frac" in text
    assert "\x1b" not in text


def test_colours_are_the_page_s_own_and_follow_the_reader():
    text = written()
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert "#010203" not in text and "#040506" not in text and "var(--ink)" in text


def test_the_same_verdict_gives_the_same_page(good):
    assert page(good, "A title & <b>more</b>") == written()


def test_the_page_is_written_whole_or_not_at_all(good, tmp_path, monkeypatch):
    path = tmp_path / "verdict.html"
    path.write_text("old")
    monkeypatch.setattr("ptilde.report.page.page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_page(good, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["verdict.html"]


def test_a_table_of_one_positive_column_has_a_page_too():
    amounts = pa.table({"a": np.random.default_rng(0).lognormal(size=300)})
    found = measure(Stub(Schema({"a": Positive()})), amounts, amounts[:100], amounts)
    assert "Each column" in page(found, "t") and "Columns together" not in page(found, "t")


def test_pictures_are_drawn_only_when_a_page_is():
    code = "import sys, ptilde.report; print([m for m in ('matplotlib', 'jax') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
