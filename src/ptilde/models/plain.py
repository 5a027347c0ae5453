r"""Plain networks: a score, a score at every noise level, or a log density.

With $z = (x - m)/s$ column by column and $f$ a network of full layers, silu between them,

* `ScoreNetwork`: $\nabla\log q(x) = f(z)/s$, a gradient only if it happens to be one;
* `NoisyScoreNetwork`: $\nabla\log q(x, \sigma) = f((x - m)/\sqrt{s^2 + \sigma^2},\ \log(\sigma/\bar s))/\sigma$, with
  $\bar s$ the geometric mean of $s$;
* `EnergyNetwork`: $\log q(x) = -\tfrac12\|z\|^2 + f(z)$.

So a network with $m$ and $s$ on the data is the network without them on the standardised data, and its score follows
by the chain rule. $m$ and $s$ are no parameters, and no leaves: like `width`, they belong to the network that weights
are put into.

silu, $t/(1 + e^{-t})$, has all derivatives, as losses with $\nabla\cdot\nabla\log q$ need, and grows no faster than
$|t|$.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ptilde import _validate
from ptilde._typing import Point, Scalar

Columns = float | Sequence[float] | Float[np.ndarray, " d"]  # one number for all columns, or one for each


class Standard(eqx.Module):
    """Columns brought to mean 0 and standard deviation 1.

    Args:
        dim: number of columns $d$.
        mean: $m$.
        std: $s$.
    """

    mean: tuple[float, ...] = eqx.field(static=True)
    std: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, dim: int, mean: Columns, std: Columns):
        _validate.whole("dim", dim, 1)
        self.mean, self.std = _columns("mean", mean, dim), _columns("std", std, dim)
        for m, s in zip(self.mean, self.std, strict=True):
            _validate.finite("mean", m)
            _validate.positive("std", s)

    def __call__(self, x: Point, sigma: Scalar | float = 0.0) -> Point:
        """What becomes of a point, of data blurred by σ."""
        return (x - jnp.asarray(self.mean, x.dtype)) / jnp.sqrt(self.scale(x) ** 2 + sigma**2)

    def scale(self, x: Point) -> Point:
        """$s$, as precise as `x`."""
        return jnp.asarray(self.std, x.dtype)

    @property
    def log_size(self) -> float:
        r"""$\log\bar s$."""
        return sum(map(math.log, self.std)) / len(self.std)


def _columns(name: str, value: Columns, dim: int) -> tuple[float, ...]:
    values = np.asarray(value, float)
    if values.shape not in [(), (dim,)]:
        raise ValueError(f"`{name}` must be one number, or one for each of {dim} columns; got shape {values.shape}.")
    return tuple(np.broadcast_to(values, (dim,)).tolist())


class Layers(eqx.Module):
    """Full layers with silu between them; weights and shifts start uniform within ±1/√(inputs of the layer).

    Rows multiply weights from the left: so the products of a batch, and of derivatives along several directions,
    come out as the next layer wants them, with no transpose between.

    Args:
        num_inputs: size of the input.
        num_outputs: size of the output.
        width: of the hidden layers.
        depth: number of hidden layers.
        key: of the starting weights.
    """

    weights: list[Float[Array, "n m"]]
    shifts: list[Float[Array, " m"]]

    def __init__(self, num_inputs: int, num_outputs: int, width: int, depth: int, *, key: PRNGKeyArray):
        _validate.whole("width", width, 1)
        _validate.whole("depth", depth, 0)
        shapes = list(pairwise([num_inputs, *[width] * depth, num_outputs]))
        keys = jr.split(key, (len(shapes), 2))
        self.weights = [_uniform(k, (n, m), n) for (k, _), (n, m) in zip(keys, shapes, strict=True)]
        self.shifts = [_uniform(k, (m,), n) for (_, k), (n, m) in zip(keys, shapes, strict=True)]

    def __call__(self, z: Float[Array, " n"]) -> Float[Array, " m"]:
        """The output at one point."""
        *hidden, (last, shift) = zip(self.weights, self.shifts, strict=True)
        for weight, b in hidden:
            z = jax.nn.silu(z @ weight + b)
        return z @ last + shift


def _uniform(key: PRNGKeyArray, shape: tuple[int, ...], num_inputs: int) -> Array:
    return jr.uniform(key, shape, minval=-1, maxval=1) / math.sqrt(num_inputs)


class ScoreNetwork(eqx.Module):
    r"""A score that is any field of vectors: its Jacobian need not be symmetric, so there may be no density.

    Args:
        dim: number of columns $d$.
        width: of the hidden layers.
        depth: number of hidden layers.
        mean: $m$ of the columns.
        std: $s$ of the columns.
        key: of the starting weights.

    References:
        Song & Ermon (2019), Generative modeling by estimating gradients of the data distribution, Section 2.
    """

    standard: Standard
    field: Layers
    gives: ClassVar = "score"

    def __init__(
        self, dim: int, width: int = 128, depth: int = 2, *, mean: Columns = 0.0, std: Columns = 1.0, key: PRNGKeyArray
    ):
        self.standard = Standard(dim, mean, std)
        self.field = Layers(dim, dim, width, depth, key=key)

    def __call__(self, x: Point) -> Point:
        """The score at one point."""
        return self.field(self.standard(x)) / self.standard.scale(x)


class NoisyScoreNetwork(eqx.Module):
    r"""The scores of the data blurred by $N(0, \sigma^2 I)$, for every σ; $-f$ is the noise to be expected in $x$.

    NCSNv2 sees σ nowhere but in the division: thousands of pixels show how noisy they are. A row of few columns does
    not, so that this network is told.

    Args:
        dim: number of columns $d$.
        width: of the hidden layers.
        depth: number of hidden layers.
        mean: $m$ of the columns.
        std: $s$ of the columns, before the noise.
        key: of the starting weights.

    References:
        Song & Ermon (2020), Improved techniques for training score-based generative models, Technique 3.
    """

    standard: Standard
    field: Layers
    gives: ClassVar = "noisy score"

    def __init__(
        self, dim: int, width: int = 128, depth: int = 2, *, mean: Columns = 0.0, std: Columns = 1.0, key: PRNGKeyArray
    ):
        self.standard = Standard(dim, mean, std)
        self.field = Layers(dim + 1, dim, width, depth, key=key)

    def __call__(self, x: Point, log_sigma: Scalar) -> Point:
        """The score at one point and noise level."""
        sigma = jnp.exp(log_sigma)
        return self.field(jnp.append(self.standard(x, sigma), log_sigma - self.standard.log_size)) / sigma


class EnergyNetwork(eqx.Module):
    r"""A log density up to its constant: at the start a Gaussian with independent columns, and always a density.

    Alone, $f$ may go on upwards in some direction, and $e^f$ has no integral. No loss sees that, for it looks where
    data are; a chain or a quadrature does. As $f$ grows no faster than $\|z\|$, the Gaussian wins far out, whatever the
    weights: the tails are light, too light for columns that are heavy-tailed.

    $f$ ends without a shift, which would be a constant that no score shows, and at 0.

    Args:
        dim: number of columns $d$.
        width: of the hidden layers.
        depth: number of hidden layers.
        mean: $m$ of the columns.
        std: $s$ of the columns.
        key: of the starting weights.
    """

    standard: Standard
    hidden: Layers
    last: Float[Array, " w"]
    gives: ClassVar = "log density"

    def __init__(
        self, dim: int, width: int = 128, depth: int = 2, *, mean: Columns = 0.0, std: Columns = 1.0, key: PRNGKeyArray
    ):
        _validate.whole("depth", depth, 1)
        self.standard = Standard(dim, mean, std)
        self.hidden = Layers(dim, width, width, depth - 1, key=key)
        self.last = jnp.zeros(width)

    def __call__(self, x: Point) -> Scalar:
        """The log density at one point, up to a constant."""
        z = self.standard(x)
        return jax.nn.silu(self.hidden(z)) @ self.last - 0.5 * jnp.vdot(z, z)
