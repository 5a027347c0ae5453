"""Tables to states and amounts, and back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ptilde import Categorical, Count, Interval, Positive, Real, Schema, SemiContinuous
from ptilde._validate import DataError
from ptilde.strata import Layout
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.levels import levels, steps_of

steps = st.sampled_from([0.2, 0.01, 1 / 365.25, 5.0])
several = st.sampled_from([(1.0, 0.5), (1.0, 0.1, 0.01), (0.5, 0.1, 0.0), (2.0, 0.0), (0.1, 1 / 300)])
sizes = st.integers(1, 40)
ATOMS = {"Real": (-1.5, 0.0, 2.0), "Positive": (0.0, 3.5, 250.0), "Interval": (0.0, 4.0, 10.0)}


@st.composite
def numbers(draw, body, size):
    """Values of a body, those on a grid as whole multiples."""
    if isinstance(body, Count):
        return np.array(draw(st.lists(st.integers(0, 10**6) | st.integers(0, 5), min_size=size, max_size=size)), float)
    if isinstance(body.grid, tuple):
        fine = [step for step in body.grid if step][-1]
        values = [draw(numbers(type(body)(**{**body.__dict__, "grid": grid}), size)) for grid in (fine, None)]
        free = draw(st.lists(st.booleans(), min_size=size, max_size=size)) if body.grid[-1] == 0 else False
        return np.where(free, values[1], values[0])
    if body.grid is not None:
        low, high = {"Real": (-1000, 1000), "Positive": (1, 10**6)}.get(
            type(body).__name__, (0, int(10 / body.grid + 1e-9))
        )
        k = draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        return np.array(k, float) * body.grid
    within = {
        "Real": st.floats(-1e300, 1e300) | st.floats(-10, 10),
        "Positive": st.floats(1e-300, 1e300) | st.floats(0.1, 10),
        "Interval": st.floats(0, 10, exclude_min=True, exclude_max=True),
    }[type(body).__name__]
    return np.array(draw(st.lists(within, min_size=size, max_size=size)))


@st.composite
def continuous(draw, size):
    """A body with values, perhaps with atoms (inside it and at its ends), perhaps with holes."""
    grid, missing = draw(st.none() | steps | several), draw(st.booleans())
    body = draw(st.sampled_from([Real(grid), Positive(grid), Interval(0.0, 10.0, grid), Count()]))
    values = draw(numbers(body, size))
    kind = type(body)(**{**body.__dict__, "missing": missing})
    if not isinstance(body, Count) and draw(st.booleans()):
        atoms = ATOMS[type(body).__name__]
        kind = SemiContinuous(atoms, body, missing)
        on = np.array(draw(st.lists(st.integers(-1, len(atoms) - 1), min_size=size, max_size=size)))
        values = np.where(on < 0, values, np.array(atoms)[on])
    if missing:
        values[draw(st.lists(st.booleans(), min_size=size, max_size=size))] = np.nan
    return kind, values


@st.composite
def categorical(draw, size):
    sets = [("a", "b", ""), (False, True), (-1, 0, 7), (10_000_001, 10_000_002), (0.1, 2.5), (1.0, 1.0 + 1e-9)]
    categories = draw(st.sampled_from(sets))
    missing = draw(st.booleans())
    chosen = draw(st.lists(st.sampled_from([*categories, *([None] if missing else [])]), min_size=size, max_size=size))
    values = np.empty(size, object)
    values[:] = chosen
    if not isinstance(categories[0], str | bool):
        values = np.array([np.nan if v is None else v for v in chosen], float)
    return Categorical(categories, missing), values


@st.composite
def tables(draw):
    size = draw(sizes)
    columns = draw(st.lists(continuous(size) | categorical(size), min_size=1, max_size=4))
    schema = Schema({f"c{i}": kind for i, (kind, _) in enumerate(columns)})
    return schema, {f"c{i}": values for i, (_, values) in enumerate(columns)}


def fit(schema, table, seed=0, weight=None):
    size = len(next(iter(table.values())))
    weight = np.ones(size) if weight is None else weight
    return Encoder.fit(schema, table, weight, np.random.default_rng(seed))


def assert_same(kind, got, wanted):
    if got.dtype == object or wanted.dtype == object:
        assert [(type(a), a) for a in got.tolist()] == [(type(a), a) for a in wanted.tolist()]
        return
    atoms = wanted[np.isin(wanted, getattr(kind, "atoms", ()))]
    np.testing.assert_array_equal(got[np.isin(wanted, atoms)], atoms)
    if isinstance(kind, Categorical | Count):
        np.testing.assert_array_equal(got, wanted)
    elif steps_of(kind.grid)[-1] > 0:
        np.testing.assert_allclose(got, wanted, rtol=1e-15, atol=0)
    else:
        largest = np.nanmax(np.abs(wanted), initial=0.0)
        noise = 1e-9 if kind.grid is None else 1e-7  # beside a grid this far from it is on it
        np.testing.assert_allclose(got, wanted, rtol=noise, atol=1e-9 * largest)


@settings(max_examples=150)
@given(tables(), st.booleans())
def test_decode_undoes_encode(drawn, within_cells):
    schema, table = drawn
    encoder = fit(schema, table)
    rows = encoder.encode(table, np.random.default_rng(1) if within_cells else None)
    assert not rows.outside.any()
    assert np.all(np.isfinite(rows.z)) and np.all(np.isfinite(rows.log_slope))
    back = encoder.decode(rows.state, rows.z)
    assert list(back) == list(table)
    for name, kind in schema.columns.items():
        assert_same(kind, back[name], table[name])


@settings(max_examples=60)
@given(tables())
def test_a_stored_encoder_is_the_same_to_the_last_bit(drawn):
    schema, table = drawn
    encoder = fit(schema, table)
    config = json.loads(json.dumps(encoder.to_config()))
    copy = Encoder.from_config(Schema.from_dict(json.loads(json.dumps(schema.to_dict()))), config, encoder.arrays())
    for seed in (None, 3):
        left, right = (e.encode(table, seed and np.random.default_rng(seed)) for e in (encoder, copy))
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
    assert copy.to_config() == encoder.to_config()
    assert [c.labels for c in copy.columns] == [c.labels for c in encoder.columns]


def test_a_stored_chart_has_numbers_only():
    schema, table = Schema({"x": Real()}), {"x": np.arange(5.0)}
    encoder = fit(schema, table)
    config = encoder.to_config()
    config[0]["chart"][1]["centre"] = "1"
    with pytest.raises(ValueError, match="`Line` must be a finite number; got '1'"):
        Encoder.from_config(schema, config, encoder.arrays())


def mixed_table(size=500):
    rng = np.random.default_rng(0)
    schema = {
        "claim": SemiContinuous((0.0, 200.0)),
        "share": Interval(0.0, 1.0),
        "region": Categorical(("north", "south")),
        "size": Real(),
        "rain": SemiContinuous((0.0,), Positive(grid=0.2)),
    }
    which = rng.choice(3, size, p=[0.5, 0.1, 0.4])
    table = {
        "claim": np.where(which == 2, rng.lognormal(5, 1, size), np.array([0.0, 200.0, 0.0])[which]),
        "share": rng.beta(2, 1, size),
        "region": np.array(["north", "south"], object)[rng.integers(0, 2, size)],
        "size": rng.standard_t(3, size),
        "rain": np.where(rng.random(size) < 0.5, 0.0, 0.2 * np.ceil(rng.exponential(20, size))),
    }
    return Schema(schema), table


def test_states_and_amounts_say_what_the_table_says():
    schema, table = mixed_table()
    encoder = fit(schema, table)
    rows = encoder.encode(table)
    assert [c.name for c in encoder.choosing] == ["claim", "region", "rain"]
    assert [c.labels for c in encoder.choosing] == [("0", "200", "body"), ("north", "south"), ("0", "body")]
    assert [c.name for c in encoder.amounts] == ["claim", "share", "size", "rain"]
    claim = np.select([table["claim"] == 0, table["claim"] == 200], [0, 1], 2)
    np.testing.assert_array_equal(rows.state[:, 0], claim)
    np.testing.assert_array_equal(rows.state[:, 1], table["region"] == "south")
    np.testing.assert_array_equal(rows.z[claim < 2, 0], 0.0)
    slopes = [c.body.encode(table[c.name], None)[1] for c in encoder.amounts[1:3]]
    neither = (claim < 2) & (table["rain"] == 0)
    np.testing.assert_allclose(rows.log_slope[neither], np.sum(slopes, 0)[neither], rtol=1e-12)


def test_the_gradient_is_the_derivative_of_the_log_density():
    schema, table = mixed_table()
    table = {name: table[name] for name in ("claim", "share", "size")}
    schema = Schema({name: schema.columns[name] for name in table})
    encoder = fit(schema, table)
    precision = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 1.5]])

    def log_density(table):
        rows = encoder.encode(table)
        return rows.log_slope - 0.5 * np.einsum("ni,ij,nj->n", rows.z, precision, rows.z)

    rows = encoder.encode(table)
    gradient = encoder.gradient(table, -rows.z @ precision)
    on_atom = np.isin(table["claim"], [0.0, 200.0])
    np.testing.assert_array_equal(np.isnan(gradient["claim"]), on_atom)
    for name, got in gradient.items():
        step = 1e-6 * np.minimum(np.abs(table[name]), 1 - table["share"] if name == "share" else np.inf)
        step = np.where(step > 0, step, 1e-6)
        up, down = table[name] + step, table[name] - step
        difference = (log_density(table | {name: up}) - log_density(table | {name: down})) / (up - down)
        there = ~np.isnan(got)
        np.testing.assert_allclose(got[there], difference[there], rtol=1e-4, atol=1e-4 * np.nanstd(got))


def test_values_without_probability_are_marked_and_named():
    schema, table = mixed_table()
    encoder = fit(schema, table)
    spoilt = {name: values[:4].copy() for name, values in table.items()}
    spoilt["claim"][[1, 3]] = -3.0, np.inf
    spoilt["share"][2] = 1.0
    spoilt["region"][1] = "west"
    spoilt["rain"][0] = 0.3
    np.testing.assert_array_equal(encoder.encode(spoilt).outside, [True] * 4)
    assert encoder.outside_in_words(spoilt) == (
        "2 in column 'claim', the first in row 1: -3.0; 1 in column 'share', the first in row 2: 1.0; "
        "1 in column 'region', the first in row 1: 'west'; 1 in column 'rain', the first in row 0: 0.3"
    )
    assert encoder.outside_in_words(table) == ""


def refusal(schema, table, **options):
    with pytest.raises(DataError) as error:
        fit(schema, table, **options)
    return str(error.value)


def test_fitting_refuses_what_the_schema_does_not_hold():
    message = refusal(Schema({"loss": Positive()}), {"loss": np.array([1.0, 2.0, -4.5, 0.0])})
    assert message == (
        "Column 'loss' must hold what its kind Positive(grid=None, missing=False) says; got -4.5 in row 2 (2 such "
        "rows). Correct the schema (atoms, bounds, grid, categories, missing) or the data."
    )
    word = np.array(["a", "c"], object)
    assert "got 'c' in row 1 (1 such rows)" in refusal(Schema({"w": Categorical(("a", "b"))}), {"w": word})
    fit(Schema({"loss": Positive()}), {"loss": np.array([1.0, 2.0, -4.5])}, weight=np.array([1.0, 1.0, 0.0]))


def test_fitting_refuses_ties_and_names_all_of_them():
    rng = np.random.default_rng(0)
    values = np.r_[np.full(100, 16.0), np.full(60, 12.5), np.zeros(50), rng.lognormal(0, 1, 790)]
    message = refusal(Schema({"years": SemiContinuous((0.0,))}), {"years": values})
    assert message == (
        "Column 'years' must have a density where it is continuous, but 10.5% of its body is exactly 16. Declare that "
        "value as an atom, SemiContinuous(atoms=(0, 12.5, 16,), ...), or the recording step as `grid`."
    )
    fit(Schema({"years": SemiContinuous((0, 12.5, 16))}), {"years": values})  # the cure cures
    fit(Schema({"years": SemiContinuous((0.0,))}), {"years": np.r_[values[160:], np.full(19, 16.0)]})


def test_whole_categories_are_told_apart_to_the_last_digit():
    schema = Schema({"code": Categorical((100_000_001, 100_000_002, 100_000_009))})
    codes = np.array([100_000_001, 100_000_009, 100_000_002, 100_000_002], float)
    encoder = fit(schema, {"code": codes})
    rows = encoder.encode({"code": np.r_[codes, 100_000_003.0]})
    np.testing.assert_array_equal(rows.state[:4, 0], [0, 2, 1, 1])
    np.testing.assert_array_equal(rows.outside, [False] * 4 + [True])


def test_float_noise_is_on_the_atom():
    encoder = fit(Schema({"x": SemiContinuous((0.3, 0.0))}), {"x": np.array([0.0, 0.3, 1.0, 2.0])})
    rows = encoder.encode({"x": np.array([0.1 + 0.2, np.float32(0.3), 1e-13, 0.31])})
    np.testing.assert_array_equal(rows.state[:, 0], [1, 1, 0, 2])


def test_frequent_counts_are_tokens_and_the_others_have_probabilities():
    rng = np.random.default_rng(0)
    values = rng.negative_binomial(1, 0.2, 3000).astype(float)
    encoder = fit(Schema({"n": Count()}), {"n": values})
    (column,) = encoder.columns
    share = np.bincount(values.astype(int)) / len(values)
    np.testing.assert_array_equal(column.points, np.flatnonzero(share >= 0.02))
    rest = np.setdiff1d(np.arange(2000.0), column.points)
    rows = encoder.encode({"n": rest})
    assert np.all(rows.state == column.body_token)
    assert abs(np.exp(rows.log_slope + stats.norm.logpdf(rows.z[:, 0])).sum() - 1) < 1e-9


def heaped_table(size=600):
    rng = np.random.default_rng(0)
    x = rng.gamma(2, 100, size)
    step = np.array([100.0, 10.0, 0.0])[rng.choice(3, size, p=[0.5, 0.3, 0.2])]
    x = np.where(step > 0, np.maximum(np.rint(x / np.where(step > 0, step, 1)), 1) * step, x)
    return np.where(rng.random(size) < 0.2, 0.0, x), SemiContinuous((0.0,), Positive((100, 10, 0)), missing=True)


def test_each_level_is_a_token_after_the_others_and_puts_the_amount_to_use():
    x, kind = heaped_table()
    x[:3] = np.nan
    encoder = fit(Schema({"x": kind, "y": Real((1, 0.5))}), {"x": x, "y": np.arange(600) / 2})
    names = ("0", "missing", "body", "body in steps of 10", "body, not rounded")
    assert [c.labels for c in encoder.columns] == [names, ("body", "body in steps of 0.5")]
    assert Layout.of(encoder).bodies == ((0, 2), None)
    (token,) = encoder.encode({"x": x, "y": np.arange(600) / 2}).state[:, :1].T
    np.testing.assert_array_equal(token[3:], np.where(x[3:] == 0, 0, 2 + levels(x[3:], kind.grid)))
    np.testing.assert_array_equal(Layout.of(encoder).active_rows(token[:, None])[:, 0], token >= 2)


def test_draws_are_on_the_level_of_their_token():
    x, kind = heaped_table()
    encoder, rng = fit(Schema({"x": kind}), {"x": x}), np.random.default_rng(1)
    state = rng.integers(0, 5, (4000, 1)).astype(np.int32)
    drawn = encoder.decode(state, rng.normal(size=(4000, 1)))["x"]
    np.testing.assert_array_equal(encoder.encode({"x": drawn}).state, state)


def test_a_density_beside_a_grid_is_that_of_full_precision_alone():
    """Its slope is that of the map; on the grid it is the cell's probability over the step of its level."""
    x, kind = heaped_table()
    encoder = fit(Schema({"x": kind}), {"x": x})
    column, rows = encoder.columns[0], encoder.encode({"x": x})
    free = rows.state[:, 0] == 4
    np.testing.assert_array_equal(rows.log_slope[free], column.body.marginal.forward(x[free])[1])
    on = rows.state[:, 0] == 3
    low, high = (column.body.marginal.forward(end)[0] for end in column.body.levels[1].ends(x[on & (x > 10)]))
    mass = (stats.norm.cdf(high) - stats.norm.cdf(low)) / 10
    density = np.exp(rows.log_slope + stats.norm.logpdf(rows.z[:, 0]))
    np.testing.assert_allclose(density[on & (x > 10)], mass, rtol=1e-9)


def test_full_precision_is_refused_for_ties_and_a_step_without_values_for_nothing():
    x, kind = heaped_table(2000)
    tied = np.where((levels(x, kind.grid) == 2) & (np.arange(len(x)) % 5 == 0), 353.77, x)
    message = refusal(Schema({"x": kind}), {"x": tied})
    assert "% of its body in full precision is exactly 353.77. Declare that value as an atom" in message
    kind = SemiContinuous((0.5,), Interval(0.1, 0.9, (0.5, 0.1)))
    assert refusal(Schema({"x": kind}), {"x": np.array([0.2, 0.3, 0.5])}) == (
        f"Column 'x' must have values on each step of its grid; got {kind!r}, where every multiple of 0.5 is out of "
        "bounds, an atom or on a coarser step. Leave that step out."
    )


def test_the_gradient_is_nothing_on_the_very_end_of_an_interval():
    x = np.r_[0.0, 1.0, np.random.default_rng(0).random(50)]
    encoder = fit(Schema({"x": Interval(0, 1, (0.5, 0))}), {"x": x})
    gradient = encoder.gradient({"x": x}, np.ones((52, 1)))["x"]
    np.testing.assert_array_equal(np.isnan(gradient), [True] * 2 + [False] * 50)


def test_tables_of_no_rows_and_of_missing_values_only():
    schema, table = mixed_table()
    encoder = fit(schema, table)
    empty = encoder.encode({name: values[:0] for name, values in table.items()})
    assert empty.state.shape == (0, 3) and empty.z.shape == (0, 4)
    hole = {"x": np.full(3, np.nan), "n": np.full(3, np.nan)}
    encoder = fit(Schema({"x": Real(missing=True), "n": Count(missing=True)}), hole)
    assert not encoder.amounts and not encoder.choosing
    rows = encoder.encode(hole)
    np.testing.assert_array_equal(encoder.decode(rows.state, rows.z)["x"], hole["x"])
