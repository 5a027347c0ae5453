"""Strata and mixtures whose densities are known, built without the library's own linear algebra."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from ptilde.models import Stratum

MEAN = np.array([0.3, -1.2, 0.8])
ROOT = np.array([[1.0, 0.0, 0.0], [0.7, 0.5, 0.0], [-0.4, 0.2, 0.9]])
COVARIANCE = ROOT @ ROOT.T
PATTERNS = [np.array(p, float) for p in itertools.product([0, 1], repeat=3)]


def stratum(active, mean=MEAN, covariance=COVARIANCE, context=(), rotate=True):
    """The stratum of N(mean, covariance) on its active columns."""
    active = np.asarray(active, float)
    on, off = np.flatnonzero(active), np.flatnonzero(active == 0)
    if not rotate:
        eigenvalues, rotation = np.where(active > 0, np.diag(covariance), 1.0), None
    else:
        values, axes = np.linalg.eigh(covariance[np.ix_(on, on)])
        eigenvalues = np.concatenate([values, np.ones(len(off))])
        rotation = np.zeros((len(active), len(active)))
        rotation[np.ix_(on, range(len(on)))] = axes
        rotation[off, len(on) + np.arange(len(off))] = 1.0
        rotation = jnp.asarray(rotation)
    return Stratum(*map(jnp.asarray, (np.array(context, float), active, mean * active, eigenvalues)), rotation)


def mixture(weights, means, spreads):
    """(x, log σ) ↦ log density of a mixture of isotropic Gaussians blurred by σ: exact at every σ."""
    weights, means, spreads = map(jnp.asarray, (weights, means, spreads))

    def log_density(x, log_sigma):
        v = spreads**2 + jnp.exp(2 * log_sigma)
        square = jnp.sum((x - means) ** 2, axis=1)
        return logsumexp(jnp.log(weights) - 0.5 * (square / v + x.size * jnp.log(2 * jnp.pi * v)))

    return log_density


def shaken(model, seed=0, scale=1.0):
    """The model with every weight moved by noise, heads that start at zero among them."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + (scale * rng.normal(size=leaf.shape)).astype(leaf.dtype), model)


def noise(make, *sizes, seed=0, scale=1.0):
    """A model whose weights are nothing but noise; made without its own start, which would have to be compiled."""
    rng = np.random.default_rng(seed)
    shapes = eqx.filter_eval_shape(make, *sizes, key=jax.random.key(0))
    return jax.tree.map(lambda leaf: (scale * rng.normal(size=leaf.shape)).astype(leaf.dtype), shapes)
