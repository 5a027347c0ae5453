"""Health spending with holes: what is missing, drawn from its law given what is there.
====================================================================================

A cell of such a table is exactly 0 or an amount, so what is imputed must be, too; and it must be 0 as often as the
other cells of its row say. A `ScoreDensity` is fitted to 6,000 person-years of the RAND Health Insurance Experiment.
From 300 others three cells in ten are removed at random and drawn again, ten times (multiple imputation: Rubin 1987).

Draws of one column alone are calibrated, too; what they miss is who spends. The Brier score, the mean square of (share
of zeros among the draws - 1 if it was 0), tells them apart, without bias by the number of draws (Ferro 2014, Fair
scores for ensemble forecasts, Quarterly Journal of the Royal Meteorological Society 140).

The same chain fixes cells to what one likes: on the right, outpatient spending of people who were in hospital for
1,000 dollars, and of people who were not.
"""

import sys

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import ptilde
from ptilde import datasets

FITTED, HOLED, SHARE, DRAWS = 6_000, 300, 0.3, 10
rng = np.random.default_rng(0)
table = datasets.load_randhie(datasets.spending).to_pandas()
table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
model = ptilde.ScoreDensity(random_state=0, max_iter=300).fit(table[:FITTED])

truth = table[FITTED : FITTED + HOLED]
hole = rng.random(truth.shape) < SHARE
tables = model.impute(truth.mask(hole), n_draws=DRAWS)
assert all(((whole == truth) | hole).all(axis=None) for whole in tables)  # what was there is there
drawn = np.stack([whole.to_numpy()[hole] for whole in tables])
alone = np.stack([table[:FITTED].sample(HOLED, random_state=i).to_numpy()[hole] for i in range(DRAWS)])
removed = truth.to_numpy()[hole]


def brier(x):
    """Of zero, unbiased for any number of draws."""
    share = (x == 0).mean(0)
    return np.mean((share - (removed == 0)) ** 2 - share * (1 - share) / (len(x) - 1))


print(f"{hole.sum():,} cells removed: {np.mean(removed == 0):.3f} of them 0, of those drawn {np.mean(drawn == 0):.3f}")
print(f"Brier score of zero: {brier(drawn):.4f}, of draws of the column alone {brier(alone):.4f}")
for q in (0.5, 0.9, 0.99):
    values = [np.quantile(x[x > 0], q) for x in (removed, drawn)]
    print(f"{q:.0%} quantile of what is not 0: {values[0]:,.1f} removed, {values[1]:,.1f} drawn")

stays = pd.DataFrame({"inpdol": [0.0, 1000.0]})
outpatient = model.sample(600, given=stays)["outpdol"].to_numpy().reshape(2, -1)
for cost, x in zip(stays["inpdol"], outpatient, strict=True):
    print(f"inpatient {cost:,.0f}: outpatient 0 with probability {np.mean(x == 0):.3f}, mean {x.mean():,.0f}")

figure = Figure(figsize=(11, 3.4), layout="constrained")
left, middle, right = figure.subplots(1, 3)
half = (drawn[: DRAWS // 2] == 0).mean(0)
places = [half == value for value in np.unique(half)]
left.plot([0, 1], [0, 1], color="0.7")
for label, x in (("drawn, other five", drawn[DRAWS // 2 :] == 0), ("truth", removed[None] == 0)):
    left.plot(np.unique(half), [x[:, place].mean() for place in places], "o-", label=label, markersize=4)
left.set(xlabel="share of zeros in five draws", ylabel="share of zeros", title="is it 0 as often as told?")
left.legend(frameon=False)
levels = np.linspace(0.01, 0.99, 60)
middle.loglog(*([np.quantile(x[x > 0], levels) for x in (removed, drawn)]), "o", markersize=3)
middle.axline((10, 10), (1000, 1000), color="0.7", zorder=0)
middle.set(xlabel="dollars removed", ylabel="dollars drawn", title="quantiles of what is not 0")
for cost, x in zip(stays["inpdol"], outpatient, strict=True):
    label = f"inpatient {cost:,.0f}: 0 with {np.mean(x == 0):.2f}"
    right.hist(np.log10(x[x > 0]), bins=25, weights=np.full((x > 0).sum(), 1 / x.size), histtype="step", label=label)
right.set(xlabel="outpatient dollars", title="given a stay in hospital", xlim=(-0.3, 5.6), yticks=[])
right.set_xticks([0, 1, 2, 3, 4], ["1", "10", "100", "1,000", ""])
right.legend(frameon=False, loc="upper right", fontsize=8)
for axes in (left, middle, right):
    axes.spines[["top", "right"]].set_visible(False)
figure.savefig(sys.argv[1] if sys.argv[1:] else "plot_imputation.png", dpi=110)
