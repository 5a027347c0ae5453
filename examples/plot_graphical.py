r"""Which of sixty columns depend on each other, given all the others?
====================================================================

In a Gaussian graphical model, log q(x) = −½ x·K x, two columns are independent given the others where K is zero. Score
matching makes of this a quadratic in K, with no determinant to be carried along, so that an ℓ1 penalty is all that a
sparse graph takes (Lin, Drton & Shojaie 2016, Estimation of high-dimensional graphical models using regularized score
matching, Electronic Journal of Statistics 10).

`ptilde.inference.graphical_path` follows the estimate from the empty graph to a dense one and chooses a graph by an
extended information criterion. The truth here is a ring of sixty columns with eight weaker chords; 1,000 rows are seen.
Large correlations are no guide: columns two steps apart on the ring are more correlated, without an edge between them,
than those that a chord joins.
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from ptilde.inference import graphical_path

NUM, ROWS, ALONG, ACROSS = 60, 1000, -0.48, -0.15
random = np.random.default_rng(0)
truth = np.zeros((NUM, NUM))
ring = [(j, (j + 1) % NUM) for j in range(NUM)]
chords = [(0, 20), (10, 40), (25, 55), (5, 35), (15, 47), (2, 30), (8, 50), (18, 44)]
for value, pairs in ((ALONG, ring), (ACROSS, chords)):
    for j, k in pairs:
        truth[j, k] = truth[k, j] = value
np.fill_diagonal(truth, 0.004 - np.linalg.eigvalsh(truth)[0])
x = random.standard_normal((ROWS, NUM)) @ np.linalg.cholesky(np.linalg.inv(truth)).T

path = graphical_path(x)
pairs = np.triu_indices(NUM, 1)
edges = truth[pairs] != 0
found = path.precision[pairs] != 0
correlation = np.abs(np.corrcoef(x.T))[pairs]
largest = np.argsort(-correlation)[: edges.sum()]
print(f"edges: {edges.sum()} true, {found.sum()} found, {(found & edges).sum()} of these are true")
print(f"the {edges.sum()} largest correlations hold {edges[largest].sum()} of the true edges")
error = (path.refitted - truth)[pairs][edges & found]
print(f"entries of K on these edges, refitted: root mean square error {np.sqrt(np.mean(error**2)):.3f}")

figure = Figure(figsize=(11, 4), layout="constrained")
left, middle, right = figure.subplots(1, 3)
angle = 2 * np.pi * np.arange(NUM) / NUM
place = np.column_stack([np.cos(angle), np.sin(angle)])
for axes, chosen, title in (
    (left, found, "the graph that score matching chooses"),
    (middle, np.isin(np.arange(len(edges)), largest), f"the {edges.sum()} largest correlations"),
):
    for j, k in np.transpose(pairs)[chosen | edges]:
        i = np.flatnonzero((pairs[0] == j) & (pairs[1] == k))[0]
        style = ("C0" if edges[i] else "C3") if chosen[i] else "0.7"
        axes.plot(*place[[j, k]].T, color=style, lw=1.6 if chosen[i] else 1, ls="-" if chosen[i] else ":")
    axes.plot(*place.T, "o", color="k", ms=3)
    axes.set_title(f"{title}\nblue true, red false, dotted missed", fontsize=9)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.axis("off")
counts = np.array([(precision[pairs] != 0).sum() for precision in path.precisions])
right.plot(counts[counts > 0], (path.criterion - path.criterion.min())[counts > 0], "o-", ms=3)
right.axvline(edges.sum(), color="0.6", ls=":")
right.annotate(" true number of edges", (edges.sum(), 0.9), xycoords=("data", "axes fraction"), fontsize=8)
right.set(xlabel="edges along the path", ylabel="criterion, above its least", xscale="log")
right.set_title("how the graph is chosen", fontsize=9)
figure.savefig(sys.argv[1] if sys.argv[1:] else "plot_graphical.png", dpi=110)
