"""Rain post-processing: from eleven runs of a weather model to the law of tomorrow's rain.
========================================================================================

An ensemble forecast is biased and too sure of itself: here, as in most, it rains too often and too lightly in the runs,
and what falls lies outside their range too often. A `ScoreRegressor` learns the law of the rain given features of
the runs: exactly 0 with some probability, otherwise an amount on the gauge's grid of 0.1 mm, both found by themselves.

Verification is as in meteorology: the CRPS against that of the raw ensemble and of climate (Gneiting & Raftery 2007),
the Brier score of rain, and the randomised probability integral transform, which is uniform if the law is right
(Dunn & Smyth 1996). The data are simulated: 2,500 days, the last 700 of them are forecast.
"""

import sys

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.signal import lfilter

import ptilde
from ptilde import diagnostics

rng = np.random.default_rng(0)
n, fitted, members = 2500, 1800, 11
weather = lfilter([0.6], [1, -0.8], rng.normal(size=n))  # today's resembles yesterday's
spread = rng.gamma(4, 0.15, n)  # some days are harder to forecast
rain = np.maximum(2.5 * (weather + spread * rng.normal(size=n)) - 0.5, 0) ** 1.5
rain = (10 * rain).round() / 10
runs = np.maximum(1.8 * (weather[:, None] + 0.35 * spread[:, None] * rng.normal(size=(n, members))) + 0.3, 0) ** 1.5

root = np.sqrt(runs)
X = pd.DataFrame({"mean": root.mean(1), "spread": root.std(1), "dry runs": (runs < 0.1).mean(1)})
y = pd.Series(rain, name="rain")
model = ptilde.ScoreRegressor(n_estimators=2, max_iter=500, random_state=0).fit(X[:fitted], y[:fitted])
print(model.schema_)

new, truth, raw = X[fitted:], rain[fitted:], runs[fitted:]


def crps(x):
    """Of draws (n, m), fair to their number (Ferro 2014)."""
    far = np.abs(x - truth[:, None]).mean(1)
    return np.mean(far - np.abs(x[:, :, None] - x[:, None]).sum((1, 2)) / (2 * x.shape[1] * (x.shape[1] - 1)))


climate = rng.choice(rain[:fitted], (n - fitted, 50))
for name, value in [("ptilde", model.crps(new, truth).mean()), ("raw ensemble", crps(raw)), ("climate", crps(climate))]:
    print(f"CRPS, {name:<13} {value:.3f} mm")
dry = model.predict_atoms(new)[0.0]
for name, share in [("ptilde", dry), ("raw ensemble", (raw < 0.05).mean(1)), ("climate", np.mean(rain[:fitted] == 0))]:
    print(f"Brier score of a dry day, {name:<13} {np.mean((share - (truth == 0)) ** 2):.4f}")
u = diagnostics.pit(model.cdf(new, truth), model.cdf(new, truth, strict=True))
print(f"PIT uniform: p-value {diagnostics.uniformity_test(u).p_value:.3f}")
low, high = model.predict_interval(new, 0.9).T
print(f"90 % interval holds {np.mean((truth >= low) & (truth <= high)):.3f} of the days")

figure = Figure(figsize=(11, 3.4), layout="constrained")
left, middle, right = figure.subplots(1, 3)
days = np.arange(60)
fan = model.predict_quantile(new[:60], [0.05, 0.25, 0.5, 0.75, 0.95])
for a, b, shade in [(0, 4, 0.2), (1, 3, 0.4)]:
    left.fill_between(days, fan[:, a], fan[:, b], color="C1", alpha=shade, linewidth=0)
left.plot(days, fan[:, 2], color="C1", label="median, 50 and 90 %")
left.plot(days, truth[:60], "k.", label="rain")
left.set(xlabel="day", ylabel="mm", ylim=(-1, 28))
left.legend()
middle.hist(u, 20, range=(0, 1), density=True, color="C1")
middle.axhline(1, color="0.5")
middle.set(title="PIT of the law", xlabel="u")
rank = (raw < truth[:, None]).sum(1) + rng.random(len(truth)) * ((raw == truth[:, None]).sum(1) + 1)
right.hist(rank / (members + 1), 12, range=(0, 1), density=True, color="C0")
right.axhline(1, color="0.5")
right.set(title="rank of the rain among the raw runs", xlabel="rank")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "plot_rain.png", dpi=110)
