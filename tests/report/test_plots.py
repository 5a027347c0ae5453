"""The pictures show the numbers: what is drawn is read back from the axes."""

import warnings

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from scipy.stats import kstest

from ptilde import Categorical, Count, DataError, Positive, Real, Schema, SemiContinuous
from ptilde.diagnostics import pit_among
from ptilde.report import canvas, density_slice, pictures, plots

RNG = np.random.default_rng(0)
KINDS = {
    "paid": SemiContinuous((0.0, 200.0), Positive()),
    "length": Real(),
    "visits": Count(),
    "word $x_{1$": Categorical(("a", "b")),
}
SCHEMA = Schema(KINDS)


def table(rows=800, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    u, length = rng.random(rows), rng.normal(size=rows)
    return {
        "paid": np.where(u < 0.3, 0.0, np.where(u > 0.9, 200.0, np.exp(3 + 0.5 * length + rng.normal(size=rows)))),
        "length": length + shift,
        "visits": rng.poisson(2, rows).astype(float),
        "word $x_{1$": np.where(rng.random(rows) < 0.4, "a", "b").astype(object),
    }


REAL, DRAWN = table(), table(600, seed=1, shift=1.0)


def axes(rows=1, across=1):
    return Figure().subplots(rows, across)


def heights(axes):
    """The sticks of an axes: real ones, then drawn ones."""
    return [[path.vertices[1, 1] for path in lines.get_paths()] for lines in axes.collections]


def stairs(axes):
    return [patch.get_data() for patch in axes.patches]


def test_atoms_are_sticks_of_their_shares_and_bodies_histograms_that_hold_the_rest():
    (place,) = plots.plot_marginals(REAL, DRAWN, SCHEMA, ["paid"], axes())
    sticks, body = place.child_axes
    shares = [[np.mean(rows["paid"] == atom) for atom in (0, 200)] for rows in (REAL, DRAWN)]
    np.testing.assert_allclose(heights(sticks), shares)
    for rows, (values, edges, _) in zip((REAL, DRAWN), stairs(body), strict=True):
        inside = (rows["paid"] != 0) & (rows["paid"] != 200) & (rows["paid"] >= edges[0]) & (rows["paid"] <= edges[-1])
        assert values.sum() == pytest.approx(inside.mean())
    assert body.get_xscale() == "log"


def test_values_that_a_logarithmic_scale_cannot_show_are_told_in_words():
    drawn = np.array([0.0, -1.0, -2.0, 3.0])
    assert pictures._hidden(KINDS["paid"], REAL["paid"], drawn).endswith("0.000 real, 0.500 model at or below zero")
    assert pictures._hidden(KINDS["paid"], REAL["paid"], REAL["paid"]) == ""
    assert pictures._hidden(KINDS["length"], REAL["length"], drawn) == ""


def test_a_count_of_few_values_is_sticks_alone_with_its_zeros():
    (place,) = plots.plot_marginals(REAL, DRAWN, SCHEMA, ["visits"], axes())
    values = np.unique(np.concatenate([REAL["visits"], DRAWN["visits"]]))
    np.testing.assert_allclose(heights(place)[0], [np.mean(REAL["visits"] == value) for value in values])
    assert not place.child_axes and not stairs(place)


def test_even_counts_have_a_histogram_without_teeth():
    even = {"visits": np.repeat(np.arange(20.0, 91.0), 20)}
    (place,) = plots.plot_marginals(even, even, Schema({"visits": Count()}), ["visits"], axes())
    values, edges, _ = stairs(place)[0]
    assert len(values) > 20 and (edges % 1 == 0.5).all()
    assert (np.diff(values) > 0).all()  # on a logarithmic scale each step up is wider


@pytest.mark.parametrize("ends", [(18, 85), (1.2, 1.4), (3, 40), (0.02, 7e6)])
def test_a_logarithmic_axis_has_two_plain_numbers_or_more(ends):
    place = axes()
    canvas.logarithmic_scale(place, "x")
    place.set_xlim(*ends)
    place.figure.canvas.draw()
    seen = [text.get_text() for text in place.get_xticklabels() if ends[0] <= text.get_position()[0] <= ends[1]]
    assert 2 <= len(seen) <= 6 and all(float(text.replace(",", "")) > 0 for text in seen)


def test_categories_are_sticks_alone_and_reals_a_histogram_alone():
    word, length = plots.plot_marginals(REAL, DRAWN, SCHEMA, ["word $x_{1$", "length"], axes(1, 2))
    np.testing.assert_allclose(heights(word)[0], [np.mean(REAL["word $x_{1$"] == w) for w in "ab"])
    assert len(stairs(length)) == 2 and not length.child_axes and length.get_xscale() == "linear"


def test_a_name_is_never_read_as_mathematics_in_a_figure_of_one_s_own():
    figure = Figure()
    with matplotlib.rc_context({"text.parse_math": True}):
        place = figure.subplots()
        plots.plot_marginals(REAL, DRAWN, SCHEMA, ["word $x_{1$"], place)
        figure.canvas.draw()  # with an odd brace between dollars this would fail
    assert place.get_title() == "word $x_{1$"
    assert not place.title.get_parse_math()


def test_quantiles_lie_on_the_diagonal_under_equal_laws_and_off_it_by_the_shift():
    (place,) = plots.plot_quantiles(REAL, DRAWN, SCHEMA, ["length"], axes())
    of_real, of_drawn = place.lines[-1].get_data()
    middle = slice(len(of_real) // 4, -len(of_real) // 4)
    np.testing.assert_allclose((of_drawn - of_real)[middle], 1.0, atol=0.25)
    (same,) = plots.plot_quantiles(REAL, REAL, SCHEMA, ["length"], axes())
    np.testing.assert_array_equal(*same.lines[-1].get_data())


@pytest.mark.parametrize("name", ["paid", "visits", "length"])
def test_places_among_draws_are_even_on_atoms_grids_and_bodies_and_uneven_for_another_law(name):
    """One value among nine draws, 400 times over; the chance of a false alarm is 1e-5."""
    same = [pit_among(table(1, seed=100 + i)[name], table(9, seed=500 + i)[name], seed=i) for i in range(400)]
    assert kstest(np.concatenate(same), "uniform").pvalue > 1e-5
    other = [pit_among(table(1, seed=100 + i)[name] * 0, table(9, seed=500 + i)[name], seed=i) for i in range(400)]
    assert kstest(np.concatenate(other), "uniform").pvalue < 1e-5


def test_places_among_draws_need_finite_numbers():
    with pytest.raises(ValueError, match="`values` and `draws` must be finite"):
        pit_among([0.0], [])


def test_a_histogram_of_places_holds_every_row():
    place = plots.plot_pit(np.array([0.01, 0.02, 0.5, 0.99]), axes())
    values, edges, _ = place.patches[-1].get_data()
    assert values @ np.diff(edges) == pytest.approx(1)
    np.testing.assert_allclose(values[[0, 10, 19]] / 20, [0.5, 0.25, 0.25])


def test_pairs_have_real_rows_below_the_diagonal_and_drawn_ones_above_it():
    places = plots.plot_pairs(REAL, DRAWN, SCHEMA, ["paid", "length"], axes(2, 2))
    for place, rows, (x, y) in ((places[1, 0], REAL, ("paid", "length")), (places[0, 1], DRAWN, ("length", "paid"))):
        there = (rows["paid"] != 0) & (rows["paid"] != 200)
        points = np.column_stack([rows[x], rows[y]])[:600][there[:600]]
        np.testing.assert_array_equal(np.column_stack(place.lines[0].get_data()), points)


def test_patterns_are_bars_of_their_shares():
    two = {name: {"a": REAL["paid"], "b": REAL["paid"][::-1]} for name in ("real", "drawn")}
    kinds = Schema({"a": KINDS["paid"], "b": KINDS["paid"]})
    place = plots.plot_patterns(two["real"], two["drawn"], kinds, axes())
    off = (REAL["paid"] != 0) & (REAL["paid"] != 200)
    shares = [
        np.mean(off & off[::-1]),
        np.mean(off & ~off[::-1]),
        np.mean(~off & off[::-1]),
        np.mean(~off & ~off[::-1]),
    ]
    drawn = sorted(bar.get_width() for bar in place.patches)
    np.testing.assert_allclose(drawn, sorted([*shares, *shares]))


def test_the_terms_of_a_loss_are_drawn_where_they_are_named_and_there():
    history = {"step": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "validation": [None, 2.0, 1.5], "terms": [[1, 2]] * 3}
    of_scores = plots.plot_training(history, axes(), ("in space", "in the noise level"))
    assert {line.get_label(): list(line.get_ydata())[-1] for line in of_scores.lines} == {
        "rows trained on": 1.0,
        "rows held out": 1.5,
        "in space": 1,
        "in the noise level": 2,
    }
    assert len(plots.plot_training(history, axes()).lines) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: plots.plot_marginals(REAL, DRAWN, SCHEMA, ["pay"]),
            "`columns` must name modelled columns, 'paid', .*'pay'",
        ),
        (lambda: plots.plot_marginals(REAL, DRAWN, SCHEMA, axes=axes()), "`axes` must hold 4 axes, .* got 1"),
        (
            lambda: plots.plot_pairs(REAL, DRAWN, SCHEMA, ["paid", "word $x_{1$"]),
            "two to 5 numeric columns; got 'paid'",
        ),
        (lambda: plots.plot_quantiles(REAL, DRAWN, SCHEMA, ["word $x_{1$"]), "must name numeric columns, of which"),
        (lambda: plots.plot_patterns(REAL, DRAWN, Schema({"length": Real()})), "must have a column with atoms"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- slices -----------------------------------------------------------------------------------------------------------


class Known:
    """log p = -(log a - b)²/2 - b²/2 - log a where a > 0, and a third column that only tilts it."""

    schema_ = Schema({"a": SemiContinuous((0.0,)), "b": Real(), "c": SemiContinuous((0.0,))})

    def columns(self, X):
        return (X.column(name).to_numpy() for name in "abc")

    def score_samples(self, X):
        a, b, c = self.columns(X)
        with np.errstate(divide="ignore"):
            return -((np.log(a) - b) ** 2) / 2 - b**2 / 2 - np.log(a) - np.where(c > 0, 100.0, 0.0)

    def grad_log_density(self, X):
        a, b, _ = self.columns(X)
        away = np.log(a) - b
        return np.column_stack([-(away + 1) / a, away - b, np.full(len(a), np.nan)])


def rows_of_known(n=400):
    rng = np.random.default_rng(2)
    b = rng.normal(size=n)
    columns = (
        np.where(rng.random(n) < 0.2, 0.0, np.exp(b + rng.normal(size=n))),
        b,
        np.where(rng.random(n) < 0.7, 0, b**2),
    )
    return pa.table(dict(zip("abc", columns, strict=True)))


def test_a_slice_is_the_density_and_its_arrows_are_its_slopes_in_the_picture():
    found = density_slice(Known(), rows_of_known())
    assert found.names == ("a", "b") and found.logarithmic == (True, False) and found.others == {"c": 0.0}
    log_a, b = np.meshgrid(np.log(found.x), found.y, indexing="ij")
    exact = -((log_a - b) ** 2) / 2 - b**2 / 2  # per unit of log a
    np.testing.assert_allclose(found.log_density, exact - exact.max(), atol=1e-9)
    side = np.log(found.x[-1] / found.x[0]), found.y[-1] - found.y[0]
    log_a, b = np.log(found.at[:, 0]), found.at[:, 1]
    np.testing.assert_allclose(found.score, np.column_stack([-(log_a - b) * side[0], (log_a - 2 * b) * side[1]]))


def test_arrows_point_up_the_density():
    found = density_slice(Known(), rows_of_known())
    place = plots.plot_score_field(found, axes())
    arrows = place.collections[-1]
    at = found.height > -12
    expected = np.degrees(np.arctan2(*found.score[at].T[::-1]))
    np.testing.assert_allclose(arrows.angles, expected)
    assert np.hypot(arrows.U, arrows.V).max() == pytest.approx(1)


def test_only_columns_without_steps_have_a_slice():
    rows = rows_of_known()
    with pytest.raises(DataError, match="two numeric columns that are not recorded in steps, of a, b, c; got 'a'"):
        density_slice(Known(), rows, ["a"])
    gridded = type(
        "Gridded", (Known,), {"schema_": Schema({"a": SemiContinuous((0.0,), Positive(grid=0.1)), "b": Real()})}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert density_slice(gridded(), rows.drop_columns("c")) is None
