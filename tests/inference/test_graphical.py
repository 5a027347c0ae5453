"""Paths of graphs: conditions of a minimum, closed forms at both ends, recovery, the criterion, refusals."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import ndtr, ndtri

from ptilde.inference import graphical
from ptilde.inference.graphical import graphical_path


def chain(dim, link):
    steps = np.arange(dim - 1)
    precision = np.eye(dim)
    precision[steps, steps + 1] = precision[steps + 1, steps] = link
    return precision


def gaussian(precision, n, seed=0):
    root = np.linalg.cholesky(np.linalg.inv(precision))
    return 3 + np.random.default_rng(seed).standard_normal((n, len(precision))) @ root.T


def truncated_gaussian(precision, n, seed=0, sweeps=50):
    """Gibbs draws of the Gaussian of mean zero, cut to x > 0."""
    rng, x = np.random.default_rng(seed), np.ones((n, len(precision)))
    for j in list(range(len(precision))) * sweeps:
        std = precision[j, j] ** -0.5
        mean = x[:, j] - x @ precision[:, j] * std**2
        below = ndtr(-mean / std)
        x[:, j] = np.maximum(mean + std * ndtri(below + rng.random(n) * (1 - below)), 1e-9)
    return x


def violation(gradient, precision, penalty):
    """How far a symmetric K is from what its subgradients say of a minimum."""
    off = ~np.eye(len(precision), dtype=bool)
    on, absent = off & (precision != 0), off & (precision == 0)
    gaps = [np.abs(np.diag(gradient)), np.abs(gradient + penalty * np.sign(precision))[on]]
    return max(np.max(gap, initial=0) for gap in [*gaps, np.abs(gradient[absent]) - penalty])


def gaussian_gradient(x, precision):
    """The gradient of ½ tr KSK - tr K, with the columns standardised."""
    standard = np.corrcoef(x.T)
    return 0.5 * (standard @ precision + precision @ standard) - np.eye(len(standard))


def truncated_sums(x):
    """Sums Γ_j (p + 1, p + 1) and linear terms over (k_j, η_j), entry by entry, of columns with unit deviation."""
    n, p = x.shape
    gammas, linears = np.zeros((p, p + 1, p + 1)), np.zeros((p, p + 1))
    for row in x:
        point = np.append(row, -1.0)  # the score of column j is -θ_j·point
        for j in range(p):
            h, slope = min(np.log1p(row[j]), 2.0), (1 / (1 + row[j])) * (np.log1p(row[j]) < 2)
            gammas[j] += h * np.outer(point, point) / n
            linears[j] += (h * np.eye(p + 1)[j] + slope * point) / n
    return gammas, linears


def truncated_gradient(x, precision):
    """The gradient in K at the best η."""
    gradient = np.zeros_like(precision)
    for j, (gamma, linear) in enumerate(zip(*truncated_sums(x), strict=True)):
        eta = (linear[-1] - gamma[-1, :-1] @ precision[:, j]) / gamma[-1, -1]
        gradient[:, j] = (gamma @ np.append(precision[:, j], eta) - linear)[:-1]
    return 0.5 * (gradient + gradient.T)


def standardised(path, x):
    std = x.std(0)
    return path.precisions * np.outer(std, std)


def num_edges(precision):
    return np.count_nonzero(np.triu(precision, 1))


def test_every_gaussian_precision_on_the_path_fulfils_the_conditions_of_a_minimum():
    x = gaussian(chain(12, 0.4), 200)
    path = graphical_path(x)
    assert len(path.penalties) == 30
    for precision, penalty, found in zip(standardised(path, x), path.penalties, path.violations, strict=True):
        gap = violation(gaussian_gradient(x, precision), precision, penalty)
        assert gap <= 1.1e-6
        assert gap == pytest.approx(found, abs=1e-9)
    assert num_edges(path.precisions[0]) == 0 < num_edges(path.precisions[-1])


def test_every_truncated_precision_on_the_path_fulfils_the_conditions_of_a_minimum():
    x = truncated_gaussian(chain(5, 0.4), 300)
    path = graphical_path(x, truncated=True)
    for precision, penalty in zip(standardised(path, x)[::5], path.penalties[::5], strict=True):
        assert violation(truncated_gradient(x / x.std(0), precision), precision, penalty) <= 1.1e-6
    assert num_edges(path.precisions[0]) == 0 < num_edges(path.precisions[-1])


def test_half_the_threshold_in_the_proximal_step_would_be_seen(monkeypatch):
    x = gaussian(chain(6, 0.4), 200)
    right = graphical._minimiser
    monkeypatch.setattr(graphical, "_minimiser", lambda loss, start, penalty: right(loss, start, penalty / 2))
    path = graphical_path(x, penalties=[0.2])
    assert violation(gaussian_gradient(x, standardised(path, x)[0]), standardised(path, x)[0], 0.2) > 0.05


def test_without_penalty_it_is_the_inverse_of_the_covariance():
    x = gaussian(chain(8, 0.45), 300) * np.arange(1, 9)
    path = graphical_path(x, penalties=[0.0])
    np.testing.assert_allclose(path.precision, np.linalg.inv(np.cov(x.T, bias=True)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(path.refitted, np.linalg.inv(np.cov(x.T, bias=True)), rtol=1e-4, atol=1e-6)


def test_without_penalty_the_truncated_one_solves_the_dense_linear_system():
    x = truncated_gaussian(chain(4, 0.3), 400)
    x /= x.std(0)
    p, (gammas, linears) = 4, truncated_sums(x)
    rows, columns = np.triu_indices(p)
    # θ = (triangle of K, η); column j of (K, η) is picks[j] @ θ, and the loss a sum of quadratics in those.
    picks = np.zeros((p, p + 1, rows.size + p))
    for place, (j, k) in enumerate(zip(rows, columns, strict=True)):
        picks[j, k, place] = picks[k, j, place] = 1
    for j in range(p):
        picks[j, p, rows.size + j] = 1
    hessian = sum(pick.T @ gamma @ pick for pick, gamma in zip(picks, gammas, strict=True))
    theta = np.linalg.solve(hessian, sum(pick.T @ linear for pick, linear in zip(picks, linears, strict=True)))
    path = graphical_path(x, truncated=True, penalties=[0.0])
    np.testing.assert_allclose(path.precision[rows, columns], theta[: rows.size], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("truncated", [False, True])
def test_from_the_largest_penalty_on_only_the_diagonal_is_left_and_it_has_a_closed_form(truncated):
    x = truncated_gaussian(chain(5, 0.4), 300)
    top = graphical_path(x, truncated=truncated).penalties[0]
    above, below = graphical_path(x, truncated=truncated, penalties=[1.01 * top, 0.99 * top]).precisions
    assert num_edges(above) == 0 and num_edges(below) == 1
    diagonal = 1 / x.var(0)
    if truncated:
        gammas, linears = truncated_sums(x / x.std(0))
        blocks = zip(range(5), gammas, linears, strict=True)
        alone = [np.linalg.solve(gamma[np.ix_([j, 5], [j, 5])], linear[[j, 5]])[0] for j, gamma, linear in blocks]
        diagonal = alone / x.var(0)
    np.testing.assert_allclose(np.diag(above), diagonal, rtol=1e-5)


@pytest.mark.parametrize("truncated", [False, True])
def test_units_of_the_columns_change_the_units_of_the_precisions_alone(truncated):
    x, units = truncated_gaussian(chain(5, 0.4), 300), np.array([1e3, 1.0, 1e-3, 7.0, 0.2])
    path, scaled = graphical_path(x, truncated=truncated), graphical_path(x * units, truncated=truncated)
    np.testing.assert_allclose(scaled.penalties, path.penalties, rtol=1e-10)
    np.testing.assert_allclose(scaled.criterion, path.criterion, rtol=1e-8)
    in_units = scaled.precisions * np.outer(units, units)
    np.testing.assert_allclose(in_units, path.precisions, rtol=1e-6, atol=1e-6 * path.precisions.max())


def test_a_weight_of_two_moves_the_estimate_as_two_rows_do():
    x = gaussian(chain(5, 0.4), 60)
    twice = np.arange(60) % 3 == 0
    weighted = graphical_path(x, penalties=[0.3, 0.1], sample_weight=1.0 + twice)
    repeated = graphical_path(np.concatenate([x, x[twice]]), penalties=[0.3, 0.1])
    np.testing.assert_allclose(weighted.precisions, repeated.precisions, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("truncated", [False, True])
def test_a_weight_of_zero_leaves_a_row_out_of_everything(truncated):
    x = truncated_gaussian(chain(5, 0.4), 90)
    there = np.arange(90) % 3 != 0
    weighted = graphical_path(x, truncated=truncated, sample_weight=5.0 * there)
    without = graphical_path(x[there], truncated=truncated)
    np.testing.assert_allclose(weighted.precisions, without.precisions, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(weighted.criterion, without.criterion, rtol=1e-8)


def test_a_chain_of_twenty_columns_is_recovered_without_an_error():
    precision = chain(20, 0.4)
    path = graphical_path(gaussian(precision, 2_000))
    np.testing.assert_array_equal(path.precision != 0, precision != 0)
    np.testing.assert_allclose(path.refitted, precision, atol=0.1)
    first, second, partial = path.edges()[0]
    assert int(second[1:]) == int(first[1:]) + 1
    assert partial == pytest.approx(-0.4, abs=0.06)


def test_links_of_a_truncated_gaussian_are_found_and_no_others():
    precision = np.eye(10)
    precision[[0, 1, 4, 5, 8, 9], [1, 0, 5, 4, 9, 8]] = 0.8
    path = graphical_path(truncated_gaussian(precision, 1_500), truncated=True)
    np.testing.assert_array_equal(path.precision != 0, precision != 0)
    np.testing.assert_allclose(path.refitted, precision, atol=0.4)


def test_the_criterion_is_what_its_definition_says_edge_by_edge():
    x = gaussian(chain(5, 0.4), 300)
    path = graphical_path(x, penalties=[0.2])
    z = (x - x.mean(0)) / x.std(0)
    refit = path.refitted * np.outer(x.std(0), x.std(0))
    expected = np.sum((z @ refit) ** 2) - 2 * 300 * np.trace(refit)
    for j, k in zip(*np.nonzero(np.triu(path.precision, 1)), strict=True):
        slopes = z[:, j] * (z @ refit)[:, k] + z[:, k] * (z @ refit)[:, j]  # of ½‖Kz‖² - tr K; its curvature is 2
        expected += np.mean(slopes**2) / 2 * (np.log(300) + 2 * np.log(5))
    assert num_edges(path.precision) == 4
    np.testing.assert_allclose(path.criterion, [expected], rtol=1e-8)


@pytest.mark.parametrize("truncated", [False, True])
def test_absent_edges_lower_the_loss_by_as_much_as_the_criterion_expects(truncated):
    dim, n, num_draws, edges = 6, 500, 60, 15
    gains, expected = [], []
    for seed in range(num_draws):
        x = (truncated_gaussian if truncated else gaussian)(np.eye(dim), n, seed)
        loss = (graphical._truncated if truncated else graphical._gaussian)(x / x.std(0), np.full(n, 1 / n))
        fits = [loss.restricted(support) for support in (np.eye(dim), np.ones((dim, dim)))]
        empty, full = (np.vdot(fit, loss.gradient(fit) - loss.linear) * n for fit in fits)
        charge = loss.criterion(fits[1]) - full - (loss.criterion(fits[0]) - empty)
        gains.append(empty - full)
        expected.append(charge / (np.log(n) + 2 * np.log(dim)))
    # The standard error of the mean gain is 5 %. A charge of 1 an edge, as of a likelihood, is far too little.
    assert np.mean(gains) == pytest.approx(np.mean(expected), rel=0.25)
    assert np.mean(gains) > 1.25 * edges


def test_with_fewer_rows_than_columns_the_path_ends_where_the_loss_has_no_minimum():
    x = gaussian(chain(20, 0.4), 12)
    path = graphical_path(x)
    assert 1 < len(path.penalties) < 30
    for precision, penalty in zip(standardised(path, x), path.penalties, strict=True):
        assert violation(gaussian_gradient(x, precision), precision, penalty) <= 1.1e-6
    with pytest.raises(ValueError, match="`penalties` must be large enough for the loss to have a minimum; at 1e-05 "):
        graphical_path(x, penalties=[1e-5])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_names_of_a_frame_are_those_of_the_edges(frame):
    z = np.random.default_rng(0).standard_normal((500, 3))
    columns = {"age": z[:, 0], "noise": z[:, 1], "cost": 10 - 4 * z[:, 0] + z[:, 2]}
    path = graphical_path(frame(columns))
    ((first, second, partial),) = path.edges()
    assert (first, second) == ("age", "cost")
    assert partial == pytest.approx(np.corrcoef(columns["age"], columns["cost"])[0, 1], abs=0.01)
    assert str(path).splitlines() == [
        f"3 columns: 1 of 3 pairs are dependent given all others (penalty {path.penalties[path.best]:.3g}, "
        f"{path.best + 1} of 30, by extended BIC).",
        f"  age - cost: partial correlation {partial:+.3f}",
    ]


def test_of_penalties_with_the_same_graph_the_least_is_chosen():
    x = gaussian(chain(4, 0.4), 2_000)
    penalties = [0.3, 0.2, 0.1]
    path = graphical_path(x, penalties=penalties)
    assert [num_edges(precision) for precision in path.precisions] == [3, 3, 3]
    assert path.best == 2
    np.testing.assert_array_equal(path.precision, path.precisions[2])


GOOD = np.random.default_rng(0).exponential(size=(30, 2))


def changed(row, column, value):
    x = GOOD.copy()
    x[row, column] = value
    return x


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (changed(3, 1, np.nan), {}, "Column 'x1' must have no missing values.* got one in row 3"),
        (changed(3, 1, np.inf), {}, "Column 'x1' must hold finite numbers; got inf in row 3"),
        (pd.DataFrame({"a": [1.0, 2.0], "b": ["u", "v"]}), {}, "Column 'b' must hold numbers.* got 'u' in row 0"),
        (GOOD * [1, 0] + [0, 7], {}, "Column 'x1' must vary; got 7 in every row that counts. Leave it out."),
        (GOOD[:, :1], {}, r"`data` must have two rows and two columns or more; got \(30, 1\)"),
        (GOOD[:1], {}, r"`data` must have two rows and two columns or more; got \(1, 2\)"),
        (
            changed(4, 0, 0.0),
            {"truncated": True},
            "Column 'x0' must be positive where `truncated`; got 0 in row 4. Cor",
        ),
        (changed(5, 1, -2.5), {"truncated": True}, "Column 'x1' must be positive where `truncated`; got -2.5 in row 5"),
        (GOOD, {"penalties": [-0.1]}, r"`penalties` must be a list of finite numbers of 0 or more; got \[-0.1\]"),
        (GOOD, {"penalties": []}, r"`penalties` must be a list of finite numbers of 0 or more; got \[\]"),
        (GOOD, {"sample_weight": np.ones(3)}, "`sample_weight` must be 30 finite numbers of 0 or more, not all of"),
        (GOOD, {"sample_weight": np.eye(30)[0]}, "Column 'x0' must vary"),
    ],
)
def test_data_that_have_no_graph_are_refused_by_name_and_value(data, options, message):
    with pytest.raises(ValueError, match=message):
        graphical_path(data, **options)
