"""The verdict says what the numbers say, and the page shows it without running or fetching anything."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from ptilde import Categorical, Positive, Real, Schema, SemiContinuous
from ptilde.report import measure, write_page
from ptilde.report.page import page

HOSTILE = {
    "amount": "<script>alert(1)</script>",
    "length": "$x_{1$ \\frac \x1b[31mred\x07",
    "word": '"><img src=x onerror=alert(1)>',
}


class Stub:
    """A model whose density is a constant, or worse."""

    def __init__(self, schema, log_density=-3.0, ode_gap=0.01, log_z=0.01):
        self.schema_, self.log_density, self.ode_gap, self.log_z = schema, log_density, ode_gap, log_z
        curve = {"step": [0, 10, 20], "loss": [2.0, 1.5, 1.0], "validation": [None, 1.6, 1.2]}
        self.history_ = {"states": curve, "scores": curve}
        self.n_iter_, self.seed_, self.fit_seconds_ = 20, 7, 1.5

    def score_samples(self, X, method="one_pass"):
        return np.full(len(X), self.log_density + (self.ode_gap if method == "ode" else 0.0))

    def log_normalizer(self):
        return self.log_z, 0.005


def schema(names):
    kinds = {"amount": SemiContinuous((0.0, 200.0)), "length": Real(), "word": Categorical(("a", "</svg>"))}
    return Schema({names.get(name, name): kind for name, kind in kinds.items()})


def table(seed, rows=600, zero=0.3, scale=1.0, names=()):
    rng = np.random.default_rng(seed)
    u = rng.random(rows)
    columns = {
        "amount": np.where(u < zero, 0.0, np.where(u > 0.9, 200.0, scale * rng.lognormal(3, 1, rows))),
        "length": rng.normal(size=rows),
        "word": np.where(rng.random(rows) < 0.5, "a", "</svg>"),
    }
    return pa.table({dict(names).get(name, name): column for name, column in columns.items()})


def verdict(names=(), draws=None, **faults):
    names = dict(names)
    draws = table(3, 1200, names=names) if draws is None else draws
    model = Stub(schema(names), **faults)
    return measure(model, table(1, names=names), table(2, names=names), draws, num_ode_rows=50)


@pytest.fixture(scope="module")
def good():
    return verdict()


def marks(found):
    return {finding.question: finding.mark for finding in found.findings}


def test_a_faithful_model_gets_no_bad_mark(good):
    assert set(marks(good).values()) <= {"good", "none"}


@pytest.mark.parametrize(
    ("fault", "question"),
    [
        ({"draws": table(3, 1200, zero=0.5)}, "Is the mass on each atom right?"),
        ({"draws": table(3, 1200, scale=3.0)}, "Can a classifier tell drawn rows from held-out ones?"),
        ({"draws": table(3, 1200, scale=3.0)}, "Are the tails right?"),
        ({"log_z": 0.5}, "Is the density normalised?"),
        ({"ode_gap": 0.9}, "Do the two routes to the density agree?"),
    ],
)
def test_each_fault_is_seen_by_its_question(fault, question):
    assert marks(verdict(**fault))[question] == "poor"


def test_the_sentences_hold_the_numbers(good):
    said = " ".join(finding.answer for finding in good.findings)
    assert f"AUC {good.comparison.auc.value:.3f}" in said
    assert "-3.000 ± 0.000 nats a row on average over 600 rows" in said
    assert "0.010 nats over 50 rows, 100.0 % of which agree to a nat" in said


def test_rows_outside_the_support_are_counted_and_left_out_of_the_mean():
    class Partly(Stub):
        def score_samples(self, X, method="one_pass"):
            return np.where(np.arange(len(X)) == 0, -np.inf, -2.0)

    found = measure(Partly(schema({})), table(1), table(2), table(3))
    assert found.log_density.value == -2.0
    assert found.num_outside == 1
    assert "1 of which lie outside the model's support" in " ".join(f.answer for f in found.findings)


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
    text = page(verdict(request.param), "A title & <b>more</b>")
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
    parsed = Seen(page(verdict(HOSTILE), "t"))
    text = " ".join(parsed.text)
    assert "<script>alert(1)</script>" in text
    assert "$x_{1$ \\frac" in text
    assert "\x1b" not in text


def test_colours_are_the_page_s_own_and_follow_the_reader(good):
    text = page(good, "t")
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert "#010203" not in text and "#040506" not in text and "var(--ink)" in text


def test_the_same_verdict_gives_the_same_page(good):
    assert page(good, "t") == page(good, "t")


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
