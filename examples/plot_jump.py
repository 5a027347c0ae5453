r"""Chains that step on and off zero: a hurdle law, from the state in which every column is zero.
=============================================================================================

Five amounts, each exactly zero with positive probability, which of them are going together. Such a law has a density on
the measure that is Lebesgue's plus a unit mass at zero in every column, and lives on 32 patterns of zeros. Langevin
dynamics moves in a continuum. Let go at x = 0, ULA leaves every zero with its first step, and meets none again; MALA
stays on all of them, or does so as well. The 30 patterns between are never seen. `Jump` adds moves between zero and the
amount of a column, accepted by log q on that measure (Green 1995, Biometrika 82), so that patterns come in their
shares. It is what `ptilde.sample` uses wherever `support` declares atoms.

The shares of all patterns are known here, as sums of Gaussian integrals: the total variation between them and those of
the draws is 0.02 at most.
"""

import sys
import warnings

import numpy as np
from matplotlib.figure import Figure
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning

import ptilde
from ptilde.models import Hurdle, strata
from ptilde.samplers import Mala, Ula

random = np.random.default_rng(0)
half = 0.3 * random.standard_normal((5, 5))
precision = 1.2 * np.eye(5) + half @ half.T
model = Hurdle(
    np.array([-0.1, -0.8, -0.2, -1.3, 0.1]),
    random.normal(0, 0.5, 10),
    random.normal(0, 0.6, 5),
    precision[np.triu_indices(5)],
)
law = strata(model)
masses = softmax(law.log_masses)
truth = law.patterns.T @ masses


def shares(x):
    """Of the 32 patterns among rows."""
    return np.bincount((x != 0) @ [16, 8, 4, 2, 1], minlength=32) / len(x)


zero = ptilde.SemiContinuous(atoms=(0.0,), body=ptilde.Real())
runs = {
    "ULA": {"sampler": Ula(0.1), "num_steps": 100, "warmup": 0},
    "MALA": {"sampler": Mala(0.1), "num_steps": 100, "warmup": 0},
    "MALA and Jump": {"support": zero, "num_steps": 1500, "warmup": 300},
}
found = {}
for name, how in runs.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of chains that are to go wrong
        chains = ptilde.sample(model, np.zeros(5), num_chains=20, **how)
    rows = chains.x.reshape(-1, 5)
    away = 0.5 * np.abs(shares(rows) - masses).sum()
    found[name] = shares(rows), away
    seen = np.array2string((rows != 0).mean(0), precision=3)
    print(f"{name}: total variation of the patterns {away:.4f}; not zero {seen}")
print(f"truth:{'':<40} not zero {np.array2string(truth, precision=3)}")
print(f"\nMALA and Jump, from zero\n{chains}")
print(f"\nmeans by quadrature {np.array2string(masses @ law.means, precision=3)}")

order = np.argsort(-masses)
labels = ["".join("1" if on else "0" for on in law.patterns[i]) for i in order]
figure = Figure(figsize=(11, 3.8), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(3, 1))
left.bar(range(32), masses[order], color="0.85", label="exact")
for (name, (share, away)), marker in zip(found.items(), ("x", "+", "o"), strict=True):
    left.plot(range(32), share[order], marker, ms=5, label=f"{name}: total variation {away:.3f}")
left.set_xticks(range(32), labels, rotation=90, fontsize=7)
left.set(title="shares of the patterns (1: not zero)", ylim=(-0.004, 1.1 * masses.max()))
left.legend(fontsize=8)
right.step(range(300), chains.x[0, :300, 0], lw=0.8)
right.set(title="one column of one chain", xlabel="step")
figure.savefig(sys.argv[1] if sys.argv[1:] else "plot_jump.png", dpi=110)
