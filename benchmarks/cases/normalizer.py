"""log Z of densities whose normalising constant is known, and whether its standard error is honest.

Ours has 4,096 particles, and where it starts is chosen by a first climb of as many. The peer on real columns is
blackjax's adaptive tempered SMC, 8 runs of 512 particles from N(0, 9): Hamiltonian moves of ten steps of 0.3, three at
a temperature, temperatures that keep nine tenths of the effective sample size.

`--max-iter N` makes a run that only shows that all works: N keys for the calibration, and the first target alone.
"""

import itertools
import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from scipy import stats

from benchmarks.harness import Floor, Options, Rows
from benchmarks.pictures import quantiles
from ptilde import Categorical, Positive, Real, SemiContinuous, log_normalizer
from ptilde.models import Hurdle, strata

SEEDS = [0, 1, 2]
KEYS = 40
CALIBRATION = "calibration, 3 columns"
METRICS = {
    "log Z": "the truth",
    "error": "of the estimate",
    "se": "its standard error",
    "error / se": "which 4 bounds",
    "effective": "the effective number of particles",
    "seconds": "of the call, with compilation",
    "mean z": f"of error / se over {KEYS} keys",
    "sd z": "their standard deviation; of t with 31 degrees, 1.03",
}
_TOLD = ["log Z", "error", "se", "error / se", "effective", "seconds"]
PEER = "blackjax"
TABLES = {"": _TOLD, "Calibration": ["mean z", "sd z"]}
RUNS, PARTICLES, MOVES = 8, 512, 3


def _gaussian():
    covariance = 0.9 + 0.1 * np.eye(10)
    precision = np.linalg.inv(covariance)
    truth = 5 * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(covariance)[1]
    return lambda x: -0.5 * x @ precision @ x, truth, {"dim": 10}


def _modes(dim: int):
    centres = np.array([[-5.0], [5.0]]) * np.ones(dim)
    log_q = lambda x: logsumexp(jnp.log(jnp.array([0.2, 0.8])) - 0.5 * jnp.sum((x - centres) ** 2, 1))  # noqa: E731
    return log_q, dim / 2 * np.log(2 * np.pi), {"dim": dim}


def _funnel():
    log_q = lambda x: -(x[0] ** 2) / 18 - 4.5 * x[0] - 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-x[0])  # noqa: E731
    return log_q, 5 * np.log(2 * np.pi) + np.log(3), {"dim": 10}


def _parabolas(dim: int):
    """Each column is near the square of the one before it."""
    log_q = lambda x: -0.5 * x[0] ** 2 - 2 * jnp.sum((x[1:] - x[:-1] ** 2) ** 2)  # noqa: E731
    return log_q, dim / 2 * np.log(2 * np.pi) + (dim - 1) * np.log(0.5), {"dim": dim}


def _ising():
    place = np.arange(16).reshape(4, 4)
    right, down = (np.stack(pair).reshape(2, -1) for pair in ((place[:, 1:], place[:, :-1]), (place[1:], place[:-1])))
    one, other = np.concatenate([right, down], 1)
    log_q = lambda x: 0.8 * jnp.sum((2 * x[one] - 1) * (2 * x[other] - 1)) + 0.1 * jnp.sum(2 * x - 1)  # noqa: E731
    support = [Categorical((0, 1))] * 16
    return log_q, log_normalizer(log_q, support=support, method="sum").value, {"support": support}


def _hurdle():
    random = np.random.default_rng(1)
    half, normal = 0.3 * random.standard_normal((5, 5)), random.standard_normal
    precision = (half @ half.T + np.eye(5))[np.triu_indices(5)]
    model = Hurdle(0.5 * normal(5), 0.4 * normal(10), normal(5), precision, 0.3 * normal(20))
    support = [SemiContinuous((0,), Real())] * 5
    return model, np.logaddexp.reduce(strata(model).log_masses), {"support": support}


def _orthant():
    mean, covariance = np.linspace(-0.5, 1, 5), 0.5 * (1 + np.eye(5))
    precision = np.linalg.inv(covariance)
    mass = stats.multivariate_normal(-mean, covariance, abseps=1e-7, maxpts=2_000_000, seed=0).cdf(np.zeros(5))
    truth = np.log(mass) + 0.5 * (5 * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1])
    return lambda x: -0.5 * (x - mean) @ precision @ (x - mean), truth, {"support": [Positive()] * 5}


TARGETS = {
    "Gaussian, 10 columns, ρ = .9": _gaussian,
    "two modes, 2 columns": lambda: _modes(2),
    "two modes, 10 columns": lambda: _modes(10),
    "funnel, 10 columns": _funnel,
    "parabolas, 4 columns": lambda: _parabolas(4),
    "parabolas, 10 columns": lambda: _parabolas(10),
    "Ising, 4 × 4": _ising,
    "hurdle, 5 columns": _hurdle,
    "truncated Gaussian, 5 columns": _orthant,
}


def _floors() -> list[Floor]:
    floors = []
    for name in TARGETS:
        off = lambda rows, name=name: abs(rows[name].get("error / se", np.inf))  # noqa: E731
        se = lambda rows, name=name: rows[name].get("se", np.inf)  # noqa: E731
        floors.append(Floor(f"{name}: error below 4 standard errors", off, lambda value: value < 4))
        floors.append(Floor(f"{name}: standard error below 0.05", se, lambda value: value < 0.05))
    row = f"Calibration: {CALIBRATION}"
    mean, sd = 4.6 * 1.034 / np.sqrt(KEYS), (0.54, 1.61)  # false alarm 1e-5 each
    floors.append(Floor(f"mean z within {mean:.2g}", lambda rows: abs(rows[row]["mean z"]), lambda value: value < mean))
    return floors + [Floor(f"sd z in {sd}", lambda rows: rows[row]["sd z"], lambda value: sd[0] < value < sd[1])]


FLOORS = _floors()


def measure(seed: int, options: Options, picture) -> Rows:
    rows = {}
    for name in list(TARGETS)[: 1 if options.max_iter else None]:
        log_q, truth, given = TARGETS[name]()
        rows[name] = _measured(log_q, truth, given, jr.key(seed))
        if "support" not in given:
            rows[f"{PEER}: {name}"] = _peer(log_q, truth, given["dim"], jr.key(seed))
    z = _calibration(seed, options.max_iter or KEYS)
    rows[f"Calibration: {CALIBRATION}"] = {"mean z": float(z.mean()), "sd z": float(z.std(ddof=1))}
    if picture:
        ideal = stats.t(31).ppf((np.arange(len(z)) + 0.5) / len(z))
        quantiles(picture, {"ptilde": z, "Student's t, 31 degrees": ideal}, "error / standard error")
    return rows


def _measured(log_q, truth: float, given: dict, key) -> dict[str, float]:
    start, row = time.perf_counter(), {"log Z": float(truth)}
    try:
        found = log_normalizer(log_q, method="smc", key=key, **given)
    except ValueError:  # it refuses, and the floors are missed
        return row | {"seconds": time.perf_counter() - start}
    error = found.value - truth
    row |= {"error": float(error), "se": found.standard_error, "error / se": float(error / found.standard_error)}
    return row | {"effective": found.effective, "seconds": time.perf_counter() - start}


def _peer(log_q, truth: float, dim: int, key) -> dict[str, float]:
    """blackjax's tempered SMC, as its users write it."""
    start = time.perf_counter()
    with jax.enable_x64(True):
        log_z = np.array(_tempered(log_q, dim, jr.split(key, RUNS)))
    value = np.logaddexp.reduce(log_z) - np.log(RUNS)
    relative = np.exp(log_z - value)
    error, se = float(value - truth), float(relative.std(ddof=1) / np.sqrt(RUNS))
    row = {"log Z": float(truth), "error": error, "se": se, "error / se": error / se}
    return row | {"seconds": time.perf_counter() - start}


def _tempered(log_q, dim: int, keys) -> list[float]:
    import blackjax
    from blackjax.smc import extend_params, resampling

    prior = lambda x: jnp.sum(jax.scipy.stats.norm.logpdf(x, scale=3.0))  # noqa: E731
    parameters = {"step_size": 0.3, "inverse_mass_matrix": jnp.ones(dim), "num_integration_steps": 10}
    smc = blackjax.adaptive_tempered_smc(
        prior,
        lambda x: log_q(x) - prior(x),
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        extend_params(parameters),
        resampling.systematic,
        target_ess=0.9,
        num_mcmc_steps=MOVES,
    )
    step, found = jax.jit(smc.step), []
    for key in keys:
        state, log_z = smc.init(3 * jr.normal(jr.fold_in(key, 0), (PARTICLES, dim))), 0.0
        for i in itertools.count(1):
            state, info = step(jr.fold_in(key, i), state)
            log_z += float(info.log_likelihood_increment)
            if not state.tempering_param < 1:
                break
        found.append(log_z)
    return found


def _calibration(seed: int, num_keys: int) -> np.ndarray:
    log_q = lambda x: -0.5 * x @ x + 2 * jnp.sum(jax.nn.log_sigmoid(x))  # noqa: E731
    truth = 3 * log_normalizer(log_q, dim=1).value
    keys = jr.split(jr.key(1000 + seed), num_keys)
    found = [log_normalizer(log_q, dim=3, key=key, num_particles=512) for key in keys]
    return np.array([(each.value - truth) / each.standard_error for each in found])
