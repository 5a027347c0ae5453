"""On bounded supports the weighted loss is the weighted Fisher divergence less a constant, by quadrature.

Breaks these: a weight that is not zero at an end, ∂h left out or with the wrong sign, the scale not squared.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptilde.losses import Ball, Bounded, Distance, Ends, Logarithm, Polytope, Power

INF = np.inf
KINK = np.e**2 - 1  # where min(log(1 + x), 2) bends
TILTS = [[0.0, 0.0, 0.0], [0.5, -0.2, 0.1], [-0.7, 0.3, 0.2], [1.0, 0.5, -0.3], [0.2, -0.6, 0.4]]


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def panels(edges, num=24):
    """Gauss-Legendre nodes and masses between successive edges."""
    node, mass = np.polynomial.legendre.leggauss(num)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1] + half[:, 0])[:, None].repeat(num, 1).ravel() + (half * node).ravel(), (half * mass).ravel()


def squares(edges, num=24):
    """The same in t with x = t², which takes half-integer powers at 0."""
    node, mass = panels(np.sqrt(edges), num)
    return node**2, 2 * node * mass


def product(first, second):
    """Nodes (m, 2) and masses of a product rule."""
    x, y = (a.ravel() for a in np.meshgrid(first[0], second[0], indexing="ij"))
    return np.stack([x, y], 1), np.outer(first[1], second[1]).ravel()


def on_disc(centre, radius):
    r, angle = panels([0, radius], 40), 2 * np.pi * np.arange(64) / 64
    polar, mass = product(r, (angle, np.full(64, 2 * np.pi / 64)))
    ring = polar[:, :1] * np.stack([np.cos(polar[:, 1]), np.sin(polar[:, 1])], 1)
    return centre + ring, mass * polar[:, 0]


def on_triangle(corners):
    """Three parts that meet in the incentre, where the nearest face changes; each a square folded up (Duffy)."""
    sides = np.linalg.norm(np.roll(corners, -1, 0) - np.roll(corners, 1, 0), axis=1)
    centre = sides @ corners / sides.sum()
    square, mass = product(panels([0, 1]), panels([0, 1]))
    u, v = square[:, :1], square[:, 1:]
    parts = []
    for i in range(3):
        a, b = corners[i] - centre, corners[(i + 1) % 3] - centre
        parts.append((centre + u * (1 - v) * a + u * v * b, mass * u[:, 0] * abs(a[0] * b[1] - a[1] * b[0])))
    return np.concatenate([x for x, _ in parts]), np.concatenate([m for _, m in parts])


def normal(theta, x):
    """A Gaussian, correlated if there are two coordinates."""
    z = x - theta[0]
    return -0.5 * jnp.sum(z**2) * jnp.exp(theta[1]) + theta[2] * (z[0] * z[-1] if x.size > 1 else 0.0)


def gamma(theta, x):
    return jnp.sum((1.5 + theta[0]) * jnp.log(x) - (1.3 + theta[1]) * x)


def exponential(theta, x):
    return jnp.sum(-(2 + theta[0]) * x + theta[1] * x**2)


def bent(theta, x):
    return jnp.sin(2 * x[0]) * x[1] + theta[0] * x[0] * x[1] + theta[1] * x[0] ** 2 + theta[2] * jnp.cos(3 * x[1])


@eqx.filter_jit
def constants(log_q, weight, h, nodes, mass):
    """E loss − ½ E Σ h (s − s₀)² for the models at every tilt, under the law at the first; all equal if right."""
    tilts, nodes = jnp.asarray(TILTS), jnp.asarray(nodes).reshape(len(mass), -1)
    score = jax.grad(log_q, argnums=1)
    law = mass * jnp.exp(jax.vmap(lambda x: log_q(tilts[0], x))(nodes))

    def at(theta, x):
        apart = score(theta, x) - score(tilts[0], x)
        return Bounded(weight)(lambda x: score(theta, x), x, None) - 0.5 * jnp.sum(h(x) * apart**2)

    return jax.vmap(lambda t: jax.vmap(lambda x: at(t, x))(nodes) @ law)(tilts) / jnp.sum(law)


def log_weight(x):
    return jnp.minimum(jnp.log(1 + x), 2.0)


def in_interval(x):
    return 0.25 * jnp.minimum(jnp.log(1 + jnp.minimum(x, 1.5 - x) / 0.5), 0.4)


BEND = 0.5 * (np.exp(0.4) - 1)
INCENTRE = 1 - np.sqrt(0.5)
SIMPLEX = Polytope([[-1, 0], [0, -2], [3, 3]], [0, 0, 3])  # rows of any length: distances come out right
HALF_PLANE = product(panels([0, 2, 4, KINK, 9, 14]), panels([-12, -6, -3, 0, 3, 6, 12]))
CASES = {
    "normal above 0": (normal, Ends(0, INF), log_weight, panels([0, 2, 4, KINK, 9, 14, 20])),
    "normal below 1": (normal, Ends(-INF, 1), lambda x: log_weight(1 - x), panels([-18, -9, 1 - KINK, -2, 0, 1])),
    "normal everywhere": (normal, Ends(-INF, INF, scale=2), lambda x: 4.0 + 0 * x, panels(np.linspace(-18, 18, 13))),
    "normal above 0, Hyvärinen 2007": (normal, Ends(0, INF, Power(2)), lambda x: x**2, panels([0, 2, 4, 9, 14, 20])),
    "exponential in an interval": (
        exponential,
        Ends(0, 1.5, Logarithm(0.4), 0.5),
        in_interval,
        panels([0, BEND, 0.75, 1.5 - BEND, 1.5]),
    ),
    "gamma": (gamma, Ends(0, INF, Power()), lambda x: x, squares([0, 1, 4, 9, 25, 64, 100])),
    "gamma, Hyvärinen 2007": (gamma, Ends(0, INF, Power(2)), lambda x: x**2, squares([0, 1, 4, 9, 25, 64, 100])),
    "gamma, capped": (
        gamma,
        Ends(0, INF, Power(1.5, 2.0), 3),
        lambda x: 9 * jnp.minimum((x / 3) ** 1.5, 2.0),
        squares([0, 1, 3 * 2 ** (2 / 3), 9, 25, 64, 100]),
    ),
    "two correlated, one bounded": (
        normal,
        Ends([0, -INF], INF, scale=[1, 2]),
        lambda x: jnp.array([log_weight(x[0]), 4.0]),
        HALF_PLANE,
    ),
    "disc": (
        bent,
        Distance(Ball([0.3, -0.2], 1.2)),
        lambda x: 1.2 - jnp.hypot(x[0] - 0.3, x[1] + 0.2),
        on_disc(np.array([0.3, -0.2]), 1.2),
    ),
    "triangle": (
        bent,
        Distance(SIMPLEX),
        lambda x: jnp.minimum(jnp.minimum(x[0], x[1]), (1 - x[0] - x[1]) / jnp.sqrt(2)),
        on_triangle(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])),
    ),
}


@pytest.mark.parametrize(("log_q", "weight", "h", "rule"), CASES.values(), ids=CASES)
def test_the_loss_is_half_the_weighted_fisher_divergence_less_a_constant(log_q, weight, h, rule):
    found = constants(log_q, weight, h, *rule)
    np.testing.assert_allclose(found, found[0], rtol=1e-10, equal_nan=False)


@pytest.mark.parametrize("name", ["normal above 0", "exponential in an interval", "disc", "triangle"])
def test_a_weight_that_does_not_vanish_at_the_boundary_breaks_it(name):
    log_q, weight, h, rule = CASES[name]
    found = constants(log_q, lambda x: weight(x) + 0.1, lambda x: h(x) + 0.1, *rule)
    assert np.ptp(found) > 0.01


def test_asymptotic_variances_on_the_half_line_are_those_of_genscore():
    nodes, mass = (jnp.asarray(a) for a in panels([0, 1, 2, 4, KINK, 9, 14]))
    law = mass * jnp.exp(-0.5 * nodes**2)
    law = law / jnp.sum(law)
    loss = lambda theta, x: Bounded(Ends(0, INF))(lambda x: (theta[0] - x) / theta[1], x[None], None)  # noqa: E731
    truth = jnp.array([0.0, 1.0])
    slopes = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(truth, nodes)
    curvature = law @ jax.jit(jax.vmap(lambda x: jnp.diagonal(jax.hessian(loss)(truth, x))))(nodes)
    np.testing.assert_allclose(law @ slopes, 0, atol=1e-12)
    # Each estimated with the other known, as in genscore's vignette.
    np.testing.assert_allclose(law @ slopes**2 / curvature**2, [2.795459, 2.379507], rtol=1e-6)


@eqx.filter_jit
def rescaled(c, weight):
    """Terms of one model at one point, both in a unit c times smaller."""
    score = jax.grad(lambda x: bent([0.3, 0.2, -0.4], x))
    return Bounded(weight).terms(lambda x: score(x / c) / c, c * jnp.array([0.4, 0.7]))


@pytest.mark.parametrize("h", [Logarithm(), Logarithm(0.2), Power(0.5), Power(2, 0.3)])
def test_a_scale_in_the_units_of_the_data_makes_the_terms_the_same_in_every_unit(h):
    high, scale = np.array([1, 1.5]), np.array([0.3, 0.5])
    plain = rescaled(np.array(1.0), Ends([0, -INF], high, h, scale))
    for c in np.array([1e-3, 7.0]):
        np.testing.assert_allclose(rescaled(c, Ends([0, -INF], c * high, h, c * scale)), plain, rtol=1e-11)


def test_a_scale_that_stays_behind_changes_the_terms():
    plain, other = rescaled(np.array(1.0), Ends(0, 1)), rescaled(np.array(7.0), Ends(0, 7))
    assert jnp.min(jnp.abs(plain - other)) > 0.1 * jnp.max(jnp.abs(plain))


@pytest.mark.parametrize("weight", [Ends([0, -INF], [1, INF]), Distance(Ball([0, 0], 1)), Distance(SIMPLEX)])
def test_outside_the_support_the_loss_is_nan_and_inside_it_is_not(weight):
    loss = lambda *x: Bounded(weight)(lambda x: -x, jnp.array(x), None)  # noqa: E731
    assert jnp.isfinite(loss(0.3, 0.4))
    assert jnp.isnan(loss(1.1, 0.4))


def test_the_weight_has_no_slope_at_the_centre_of_a_ball():
    terms = Bounded(Distance(Ball([1.0, 2.0], 3.0))).terms(lambda x: x**2, jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(terms, [3 * (0.5 + 2), 3 * (8 + 4)], rtol=1e-14)  # h (s²/2 + ∂s)


def test_single_precision_stays_single_and_near_the_truth():
    loss, score = Bounded(Ends(0.1, [2.3, INF], scale=0.7)), lambda x: jnp.sin(x) - x
    x = np.array([0.6, 1.9])
    single = loss(score, jnp.asarray(x, jnp.float32), None)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, loss(score, jnp.asarray(x), None), rtol=1e-5)


def test_other_ends_and_scales_compile_nothing_again():
    traces = []

    @eqx.filter_jit
    def loss(loss, x):
        traces.append(x)
        return loss(lambda x: -x, x, None)

    x = jnp.array([0.5, 0.6])
    values = [loss(Bounded(Ends([low, -INF], 1.0, scale=scale)), x) for low, scale in [(0, 1.0), (0.4, 1.0), (0, 2.0)]]
    assert len(traces) == 1 and len(set(map(float, values))) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ends([0, 1], [1, 1]), "`low` must be below `high`; got 1.0 and 1.0 in coordinate 1"),
        (lambda: Ends(0, float("nan")), "`low` must be below `high`; got 0.0 and nan in coordinate 0"),
        (lambda: Ends(0, 1, scale=[1, 0]), r"`scale\[1\]` must be positive and finite; got .*0.0"),
        (lambda: Logarithm(0), "`cap` must be positive and finite; got 0"),
        (lambda: Power(cap=-1.0), "`cap` must be positive and finite; got -1.0"),
        (lambda: Power(0), "`exponent` must be positive and finite; got 0"),
        (lambda: Ball([0, 0], 0), "`radius` must be one positive and finite number; got 0.0"),
        (lambda: Polytope([[1, 0], [0, 0]], [1, 1]), r"`normals` must be finite and not zero; got \[0. 0.\] in row 1"),
        (lambda: Polytope([[1, 0]], [1, 1]), "`normals` must be a table with a row for each of the `offsets`"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
