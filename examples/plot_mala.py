r"""What a step size costs: the bias of unadjusted Langevin chains, and what accept/reject makes of it.
===================================================================================================

Langevin dynamics leaves a density as it is; its steps do not. Of the standard normal law, chains of
x + ε∇log q(x) + √(2ε)ξ (ULA) have the variance 1/(1 − ε/2) in the end: 11 % too much at ε = 0.2, and no longer run
brings it down, though all chains here start from exact draws. Where the score grows faster than linearly it is worse:
of q(x) = exp(−x⁴/4) a step from beyond √(2/ε) lands further out than it started, and sooner or later each chain is
lost. MALA (Roberts & Tweedie 1996, Bernoulli 2) accepts a step with the probability that makes q exactly invariant,
whatever ε is: a step that is too long costs acceptance, that is time, and no bias.

The truths are exact: 1, and E x² = 2Γ(3/4)/Γ(1/4) = 0.676. The last panel says how many independent draws of the normal
law in ten columns 100 steps of MALA are worth (for means of x²). Warm-up aims at the acceptance 0.574, which is best
for very many columns (Roberts & Rosenthal 1998, JRSS B 60), and not far from it here.
"""

import sys
import warnings

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy.special import gamma
from sklearn.exceptions import ConvergenceWarning

import ptilde
from ptilde.samplers import Mala, Ula
from ptilde.samplers.convergence import bulk_ess

warnings.simplefilter("ignore", ConvergenceWarning)  # some of these chains are to go wrong
STEPS, CHAINS, DRAWS, BURN = (0.05, 0.1, 0.2, 0.4, 0.8), 300, 400, 100
random = np.random.default_rng(0)


def normal(x):
    return -0.5 * jnp.sum(x**2)


def quartic(x):
    return -0.25 * jnp.sum(x**4)


def second_moment(log_q, start, sampler):
    """Of draws of many chains: the mean of x², its standard error, and the share of chains that are lost."""
    chains = ptilde.sample(log_q, start, sampler=sampler, warmup=0, num_steps=BURN + DRAWS)
    means = (chains.x[:, BURN:].astype(float) ** 2).mean((1, 2))
    kept = np.isfinite(means)
    if not kept.any():
        return np.nan, np.nan, 1.0
    return means[kept].mean(), means[kept].std() / kept.sum() ** 0.5, 1 - kept.mean()


figure = Figure(figsize=(12, 3.6), layout="constrained")
panels = figure.subplots(1, 3)
exact = random.choice([-1, 1], CHAINS) * (4 * random.gamma(0.25, size=CHAINS)) ** 0.25
laws = {
    "the normal law": (normal, random.standard_normal(CHAINS), 1.0),
    "exp(−x⁴/4)": (quartic, exact, 2 * gamma(0.75) / gamma(0.25)),
}
for panel, (law, (log_q, start, truth)) in zip(panels, laws.items(), strict=False):
    along = panel.get_xaxis_transform()
    for name, kind, color in (("ULA", Ula, "C3"), ("MALA", Mala, "C0")):
        found = [second_moment(log_q, start[:, None], kind(step_size)) for step_size in STEPS]
        for step_size, (value, error, lost) in zip(STEPS, found, strict=True):
            end = f"; {lost:.0%} of the chains lost" if lost else ""
            print(f"{law}, {name}, step size {step_size}: {value:.4f} ± {error:.4f}   truth {truth:.4f}{end}")
            if lost:
                panel.text(step_size, 0.03, f"{lost:.0%} lost", color=color, fontsize=8, ha="center", transform=along)
        value, error, _ = map(np.array, zip(*found, strict=True))
        panel.errorbar(STEPS, value, 3 * error, fmt="o", color=color, label=f"{name}, ± 3 standard errors")
    panel.axhline(truth, color="k", lw=0.8, label="truth")
    panel.set(title=f"E x² of {law}", xlabel="step size ε", xlim=(0, 0.9))
fine = np.linspace(0, 0.85, 100)
panels[0].plot(fine, 1 / (1 - fine / 2), "--", color="C3", lw=1, label="1/(1 − ε/2)")
panels[0].legend(fontsize=8)

worth, start = [], random.standard_normal((40, 10))
for step_size in np.geomspace(0.1, 1.6, 8):
    chains = ptilde.sample(normal, start, sampler=Mala(step_size), warmup=0, num_steps=DRAWS)
    squares = np.mean([bulk_ess(chains.x[..., j] ** 2) for j in range(10)])
    worth.append((chains.acceptance.mean(), squares / (0.01 * chains.x[..., 0].size)))
    print(f"ten columns, step size {step_size:.2f}: acceptance {worth[-1][0]:.3f}, worth {worth[-1][1]:.1f} draws")
tuned = ptilde.sample(normal, start, num_steps=DRAWS, warmup=300)
print(f"warm-up finds the step size {tuned.step_size:.2f}, acceptance {tuned.acceptance.mean():.3f}")
panels[2].plot(*zip(*worth, strict=True), "o-", ms=4)
panels[2].axvline(tuned.acceptance.mean(), color="k", lw=0.8, ls=":")
panels[2].annotate(" warm-up", (tuned.acceptance.mean(), 0.5), fontsize=8)
panels[2].set(title="100 steps of MALA, ten normal columns", xlabel="acceptance", ylabel="independent draws")
panels[2].set_ylim(bottom=0)
figure.savefig(sys.argv[1] if sys.argv[1:] else "plot_mala.png", dpi=110)
