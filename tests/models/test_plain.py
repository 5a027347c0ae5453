"""Plain networks: standardised by the chain rule, smooth, densities where they say so, blind to no parameter."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_strata import shaken
from scipy.stats import norm

from ptilde.models import EnergyNetwork, NoisyScoreNetwork, ScoreNetwork

DIM, MEAN, STD = 3, np.array([100.0, -0.02, 3.0]), np.array([25.0, 0.01, 2.0])
KINDS = [ScoreNetwork, NoisyScoreNetwork, EnergyNetwork]


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def network(kind, mean=0.0, std=1.0, seed=0, **sizes):
    return shaken(kind(DIM, 12, **sizes, mean=mean, std=std, key=jr.key(0)), seed, scale=0.5)


def points(num=6, seed=0):
    return jnp.asarray(1.5 * np.random.default_rng(seed).normal(size=(num, DIM)))


def score(model):
    """The score at a point, of a network of any kind; at σ = 0.3 where it wants one."""
    return {
        "score": model,
        "noisy score": lambda x: model(x, jnp.log(0.3)),
        "log density": jax.grad(model),
    }[model.gives]


def differences(function, x, step=1e-4):
    """Central differences of fourth order along the axes, on a first axis."""
    at = lambda h: jax.vmap(lambda e: function(x + h * e))(jnp.eye(DIM))  # noqa: E731
    return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_first_and_second_derivatives_of_the_energy_are_those_of_its_values(depth):
    model, x = network(EnergyNetwork, depth=depth), points(1)[0]
    np.testing.assert_allclose(jax.grad(model)(x), differences(model, x), rtol=1e-8)
    hessian = jax.hessian(model)(x)
    np.testing.assert_allclose(hessian, differences(jax.grad(model), x), atol=1e-8)
    assert np.max(np.abs(hessian + np.eye(DIM))) > 0.01  # it bends by itself, not by its Gaussian alone


def test_an_energy_network_starts_as_the_gaussian_of_its_moments():
    model, x = EnergyNetwork(DIM, mean=MEAN, std=STD, key=jr.key(1)), MEAN + STD * points()
    exact = norm(MEAN, STD).logpdf(x).sum(1)
    np.testing.assert_allclose(np.diff(jax.vmap(model)(x)), np.diff(exact), rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_far_out_the_gaussian_wins_over_weights_that_alone_would_have_no_mass(seed):
    model = network(EnergyNetwork, seed=seed)
    ways = jr.normal(jr.key(0), (50, DIM))
    far = 1e8 * ways / jnp.linalg.norm(ways, axis=1, keepdims=True)
    gaussian = -0.5 * jnp.sum(far**2, 1)
    value = jax.vmap(model)(far)
    np.testing.assert_allclose(value / gaussian, 1.0, rtol=1e-5)
    # What the network adds does rise in some direction, in proportion to the distance: alone it would be no density.
    assert jnp.max(value - gaussian) > 0.2 * 1e8


@pytest.mark.parametrize("kind", [ScoreNetwork, EnergyNetwork])
def test_moments_enter_as_if_the_data_had_been_standardised(kind):
    scaled, plain = network(kind, MEAN, STD), network(kind)
    for z in points():
        np.testing.assert_allclose(score(scaled)(MEAN + STD * z), score(plain)(z) / STD, rtol=1e-10)


@pytest.mark.parametrize("unit", [1e-3, 7.0])
@pytest.mark.parametrize("sigma", [0.01, 1.0, 20.0])
def test_noisy_scores_do_not_depend_on_the_unit_of_data_and_noise(unit, sigma):
    # In another unit x becomes c·x + m and σ becomes c·σ, and a score is per unit.
    scaled, plain = network(NoisyScoreNetwork, MEAN, unit * STD), network(NoisyScoreNetwork, std=STD)
    for x in STD * points():
        found = scaled(MEAN + unit * x, jnp.log(unit * sigma))
        np.testing.assert_allclose(found, plain(x, jnp.log(sigma)) / unit, rtol=1e-9)


@pytest.mark.parametrize("sigma", [1e-4, 1e4])
def test_noisy_scores_over_the_noise_stay_of_order_one_at_every_level(sigma):
    # -σ·score is the noise to be expected, whatever σ; a point is as far out as data and noise together make it.
    model = network(NoisyScoreNetwork, MEAN, STD)
    x = MEAN + np.sqrt(STD**2 + sigma**2) * points()
    noise = -sigma * jax.vmap(model, (0, None))(x, jnp.log(sigma))
    features = jax.vmap(lambda z: jnp.append(z, jnp.log(sigma / np.exp(np.mean(np.log(STD))))))(points())
    np.testing.assert_allclose(noise, -jax.vmap(model.field)(features), rtol=1e-8)


def test_the_jacobian_of_a_score_is_symmetric_if_it_comes_of_a_density_and_else_not():
    def asymmetry(kind):
        jacobian = jax.vmap(jax.jacobian(score(network(kind))))(points())
        return np.max(np.abs(jacobian - jnp.swapaxes(jacobian, 1, 2))) / np.max(np.abs(jacobian))

    assert asymmetry(EnergyNetwork) < 1e-14
    assert asymmetry(ScoreNetwork) > 0.1 and asymmetry(NoisyScoreNetwork) > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_moves_the_score_and_the_moments_are_no_parameters(kind):
    model, x = network(kind, MEAN, STD), MEAN + STD * points()
    slopes = jax.jacobian(lambda model: jax.vmap(score(model))(x))(model)
    for parameter, slope in zip(jax.tree.leaves(model), jax.tree.leaves(slopes), strict=True):
        assert np.all(np.any(slope != 0, axis=(0, 1))), parameter.shape
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(model))
        == {
            ScoreNetwork: 3 * 12 + 12 + 12 * 12 + 12 + 12 * 3 + 3,
            NoisyScoreNetwork: 4 * 12 + 12 + 12 * 12 + 12 + 12 * 3 + 3,
            EnergyNetwork: 3 * 12 + 12 + 12 * 12 + 12 + 12,
        }[kind]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_survives_pickle_and_its_weights_a_file(kind, tmp_path):
    model, x = network(kind, MEAN, STD), MEAN + STD * points(1)[0]
    np.testing.assert_array_equal(score(pickle.loads(pickle.dumps(model)))(x), score(model)(x))
    eqx.tree_serialise_leaves(tmp_path / "weights", model)
    other = kind(DIM, 12, mean=MEAN, std=STD, key=jr.key(9))
    assert np.any(score(other)(x) != score(model)(x))
    np.testing.assert_array_equal(score(eqx.tree_deserialise_leaves(tmp_path / "weights", other))(x), score(model)(x))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_numpy_and_single_precision_give_the_same_scores(kind):
    model, x = network(kind, MEAN, STD), MEAN + STD * points(1)[0]
    np.testing.assert_allclose(score(jax.tree.map(np.asarray, model))(x), score(model)(x), rtol=1e-12)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), model)
    found = score(single)(x.astype(jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, score(model)(x), rtol=2e-3)  # z loses digits where the mean is 4 std away


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 0}, "`dim` must be at least 1; got 0"),
        ({"width": 2.5}, "`width` must be a whole number; got 2.5"),
        ({"depth": -1}, "`depth` must be at least .; got -1"),
        ({"std": [1.0, 0.0, 1.0]}, "`std` must be positive and finite; got 0.0"),
        ({"mean": [0.0, np.nan, 0.0]}, "`mean` must be a finite number; got nan"),
        ({"mean": [0.0, 1.0]}, r"`mean` must be one number, or one for each of 3 columns; got shape \(2,\)"),
    ],
)
def test_sizes_and_moments_that_make_no_network_are_refused(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        kind(**({"dim": DIM, "width": 4} | wrong), key=jr.key(0))
