r"""Are intervals and chains right on average? Simulation-based calibration, and what three mistakes look like in it.
=================================================================================================================

Draw θ from a prior, data given θ, and draws of θ given the data: if these are right, the rank of the true θ among them
is uniform (Talts et al. 2018, Validating Bayesian inference algorithms with simulation-based calibration,
arXiv:1804.06788). The pictures show the distribution function of 200 ranks less the uniform one, which stays within the
grey band as a whole with probability 0.95 (Säilynoja, Bürkner & Vehtari 2022, Statistics and Computing 32).

**An estimator**: a yearly change of 300 people over 4 years, 0 or normal, the years of one person alike. The draws are
normal around the estimate, with its standard errors. Told the people (`groups`), they are right; not told, they are too
narrow, and the truth lies outside them too often: ranks heap at both ends.

This is the third law that was tried here. With log-normal changes on x > 0 the estimator failed this test as it should
not: at 1,200 rows the default weights of a half-line leave estimates off by a part of their standard errors.

**A sampler**: eight measurements with an unknown spread, and an effect that is exactly 0 with probability ½. A chain
jumps between the atom and the body. The log density there must be one on both: a body "up to its constant" gives the
atom a fifth of its odds, and no R-hat sees it. Chains with too short a step, read after 30 steps without warm-up, are
still where they began.
"""

import sys
import warnings

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning

import ptilde
from ptilde.diagnostics import ranks_among, simulation_calibration
from ptilde.samplers import Mala

warnings.simplefilter("ignore", ConvergenceWarning)  # some of these chains are to go wrong
NUM, DRAWS, PEOPLE, YEARS = 200, 99, 300, 4
SLAB = 0.5 * np.log(2 * np.pi * 4)  # of N(0, 4): the log of its constant
START = {"centre": 0.0, "log_sd": 0.0, "zero": 0.0}


def log_change(theta, x):
    return jnp.where(x == 0, theta["zero"], -0.5 * ((x - theta["centre"]) * jnp.exp(-theta["log_sd"])) ** 2)


def people(rng):
    """Changes of people with their own tendencies, and θ of one change by itself."""
    p, centre, log_sd = rng.uniform(0.3, 0.7), rng.normal(), 0.3 * rng.normal()
    any_at_all, z = (rng.normal(size=(PEOPLE, 1)) + rng.normal(size=(PEOPLE, YEARS)) for _ in "ab")
    x = np.where(any_at_all < np.sqrt(2) * norm.ppf(p), 0.0, centre + np.exp(log_sd) * z / np.sqrt(2))
    return x.ravel(), (centre, log_sd, np.log(p / (1 - p) * np.sqrt(2 * np.pi)) + log_sd)


def normal_draws(rng, x, groups):
    kind = ptilde.SemiContinuous(atoms=(0.0,), body=ptilde.Real())
    found = ptilde.estimate(log_change, START, x, support=kind, groups=groups)
    return rng.normal([*found.theta.values()], [*found.standard_errors.values()], (DRAWS, 3))


class Posterior(eqx.Module):
    """Of an effect that is N(0, 4) or exactly 0, and of the log of the spread, which is N(0, ¼)."""

    y: Array
    log_constant: float | Array

    def __call__(self, x):
        effect, log_sd = x
        slab = -0.5 * (effect / 2) ** 2 - self.log_constant
        prior = jnp.where(effect == 0, 0.0, slab) - 0.5 * (log_sd / 0.5) ** 2
        return prior + jnp.sum(-0.5 * ((self.y - effect) * jnp.exp(-log_sd)) ** 2 - log_sd)


def chain_draws(y, seed, log_constant=SLAB, **chosen):
    support = [ptilde.SemiContinuous(atoms=(0.0,), body=ptilde.Real()), ptilde.Real()]
    chosen = {"warmup": 300, "num_steps": 33, "thin": 10} | chosen
    target = Posterior(jnp.asarray(y), jnp.asarray(log_constant))
    x = ptilde.sample(target, [0.0, 0.0], support=support, num_chains=3, key=seed, **chosen).x.reshape(DRAWS, 2)
    return np.column_stack([np.abs(x[:, 0]), x[:, 1]])  # the size of the effect, whose least value is the atom


ESTIMATE, SAMPLE = ("groups told", "groups not told"), ("right", "body up to its constant", "stopped early")
truths, draws = ([], []), {name: [] for name in ESTIMATE + SAMPLE}
for seed in range(NUM):
    rng = np.random.default_rng(seed)
    x, theta = people(rng)
    for name, groups in zip(ESTIMATE, (np.repeat(np.arange(PEOPLE), YEARS), None), strict=True):
        draws[name].append(normal_draws(rng, x, groups))
    effect, log_sd = rng.choice([0.0, 2 * rng.normal()]), 0.5 * rng.normal()
    y = effect + np.exp(log_sd) * rng.normal(size=8)
    early = {"sampler": Mala(0.002), "warmup": 0, "thin": 1}
    for name, chosen in zip(SAMPLE, ({}, {"log_constant": 0.0}, early), strict=True):
        draws[name].append(chain_draws(y, seed, **chosen))
    truths[0].append(theta)
    truths[1].append((abs(effect), log_sd))

figure = Figure(figsize=(12, 3.8), layout="constrained")
titles = "estimate: centre of the changes", "sample: size of an effect, with an atom at 0", "sample: log of the spread"
panels = dict(zip(titles, figure.subplots(1, 3, sharey=True), strict=True))
labels = ("centre", "log_sd", "zero"), ("size", "log_sd")
for truth, names, parameters, shown in zip(truths, (ESTIMATE, SAMPLE), labels, (titles[:1], titles[1:]), strict=True):
    for color, name in zip(("C0", "C1", "C3"), names, strict=False):
        found = simulation_calibration(ranks_among(truth, draws[name]), DRAWS)
        values = ", ".join(f"{p} {value:.4f}" for p, value in zip(parameters, found.p_values, strict=True))
        print(f"{name}: p-values {values}")
        for title, ecdf in zip(shown, found.ecdf.T, strict=False):
            panels[title].step(found.points, ecdf - found.points, where="post", color=color, label=name)
            if name == names[0]:
                ends = found.low - found.points, found.high - found.points
                panels[title].fill_between(found.points, *ends, color="0.85", lw=0, label="95 % band")
for title, panel in panels.items():
    panel.set(title=title, xlabel="rank of the truth, as a share")
    panel.set_ylim(-0.25, 0.35)
    panel.legend(fontsize=8, loc="upper right")
panels[titles[0]].set_ylabel("share of ranks below, less uniform")
figure.savefig(sys.argv[1] if sys.argv[1:] else "plot_calibration.png", dpi=110)
