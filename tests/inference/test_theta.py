"""θ as a flat array, and back."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from ptilde.inference.theta import flatten


class Model(eqx.Module):
    slope: object
    steps: int = 3
    tiny: float = 1e-6


def test_a_pytree_comes_back_from_its_flat_form():
    theta = {"b": [1, 2.0], "a": jnp.arange(6.0).reshape(2, 3), "name": "kept"}
    flat, form, names = flatten(theta)
    assert names == ("a[0, 0]", "a[0, 1]", "a[0, 2]", "a[1, 0]", "a[1, 1]", "a[1, 2]", "b.0", "b.1")
    back = form.tree(flat + 1)
    np.testing.assert_array_equal(back["a"], np.arange(1, 7).reshape(2, 3))
    assert back["b"] == [2.0, 3.0] and back["name"] == "kept"


def test_a_last_axis_stays_with_each_parameter():
    flat, form, _ = flatten({"a": np.zeros((2, 2)), "b": 0.0})
    pairs = form.tree(np.stack([np.arange(5), 10 + np.arange(5)], axis=1))
    np.testing.assert_array_equal(pairs["a"][1, 0], [2, 12])
    np.testing.assert_array_equal(pairs["b"], [4, 14])


def test_bare_numbers_and_arrays_are_called_theta():
    assert flatten(1)[2] == ("theta",)
    assert flatten(np.zeros(2))[2] == ("theta[0]", "theta[1]")


def test_the_settings_of_a_module_are_no_parameters():
    flat, form, names = flatten(Model(jnp.ones(2)))
    assert names == ("slope[0]", "slope[1]")
    assert (form.tree(flat).steps, form.tree(flat).tiny) == (3, 1e-6)


def test_equal_forms_are_equal_so_that_nothing_compiles_twice():
    one, other = (flatten({"a": np.full(2, value)})[1] for value in (1.0, 5.0))
    assert one.treedef == other.treedef and one.shapes == other.shapes


def test_nothing_to_estimate_is_refused():
    with pytest.raises(ValueError, match="at least one number"):
        flatten({"a": "b", "flag": True})
