r"""Independent components without the determinant.
===============================================

Three recordings x are mixtures of three independent sources, s = W x with an unknown W. The density of x is
p(s₁) p(s₂) p(s₃) `|det W|`. The last factor is the normaliser: it changes with W, so maximum likelihood must carry it
along. Leave it out and the likelihood is highest at W = 0, where nothing is unmixed.

Score matching sees log q through its derivatives in x, where there is no determinant to begin with. It finds W, its
rows in any order and with any sign, and a standard error for each entry (Hyvärinen 2005, Estimation of non-normalized
statistical models by score matching, JMLR 6, Section 3.2).

The start is a W that makes the columns uncorrelated: all that second moments can tell.
"""

import sys

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

import ptilde
from ptilde import models

UNMIXING = np.array([[1.0, 0.8, -0.6], [-0.7, 1.0, 0.5], [0.4, -0.6, 1.1]])

random = np.random.default_rng(0)
sources = random.logistic(0, np.sqrt(3) / np.pi, (10_000, 3))  # of variance 1
x = sources @ np.linalg.inv(UNMIXING).T

white = np.linalg.inv(np.linalg.cholesky(np.cov(x.T)))
fit = ptilde.estimate(models.Ica(white), None, x)
unmixing, errors = fit.theta.unmixing, fit.standard_errors.unmixing

log_q = lambda w: float(jax.vmap(models.Ica(w))(x).mean())  # noqa: E731
print(f"mean log q without log|det W|: {log_q(UNMIXING):.2f} at the truth, {log_q(0 * UNMIXING):.2f} at W = 0")

# Rows come in any order and with any sign: put them beside the true ones.
product = unmixing @ np.linalg.inv(UNMIXING)  # a signed permutation, were W exact
order = linear_sum_assignment(-np.abs(product.T))[1]
sign = np.sign(product[order, range(3)])[:, None]
unmixing, errors = sign * unmixing[order], errors[order]
for i in range(3):
    for j in range(3):
        print(f"W[{i}, {j}]  {unmixing[i, j]:7.3f} ± {errors[i, j]:.3f}   truth {UNMIXING[i, j]:6.3f}")
inside = np.abs(unmixing - UNMIXING) < 1.96 * errors
print(f"{inside.sum()} of 9 intervals of 95 % hold the truth")


tables = {"recordings": x, "uncorrelated columns": x @ white.T, "sources found": x @ unmixing.T}
figure = Figure(figsize=(13, 3.6), layout="constrained")
*panels, right = figure.subplots(1, 4)
for axes, (name, columns) in zip(panels, tables.items(), strict=True):
    correlation = np.abs(np.corrcoef(columns.T, sources.T)[:3, 3:])
    print(f"largest correlation of each true source with {name:<20} {np.round(correlation.max(axis=0), 3)}")
    axes.imshow(correlation, cmap="Blues", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(correlation):
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="w" if value > 0.6 else "k")
    axes.set_title(f"{name} × true sources", fontsize=10)
    axes.set(xticks=[], yticks=[])
figure.colorbar(panels[0].images[0], ax=panels, label="|correlation|", shrink=0.8)
right.axline((0, 0), slope=1, color="0.7")
right.errorbar(UNMIXING.ravel(), unmixing.ravel(), 1.96 * errors.ravel(), fmt="o", ms=4, capsize=3)
right.set_title("entries of W, with 95 % intervals", fontsize=10)
right.set(xlabel="truth", ylabel="estimate", aspect="equal")
figure.savefig(sys.argv[1] if sys.argv[1:] else "plot_ica.png", dpi=110)
