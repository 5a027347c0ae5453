"""Motor pricing: the whole law of a policy's claims given what is known of it, and prices read off that law.
==========================================================================================================

Of 15,000 policies most have no claim in the year. A claim has a deductible of 200: what is reported below is exactly
200 here, an atom beside zero, as real tables have it; and policies were on the books for part of the year only, the
exposure. A Tweedie model has no such atom, and one number for the shape of every policy's law. A `ScoreRegressor` finds
the atoms by itself and learns how both parts depend on the covariates and on the exposure.

The data are simulated, so that every price is known: the pure premium (mean), the expected payment of a layer that
begins at 1,000 and pays 5,000 at most, and the probability of any claim. Two thirds of the policies are fitted.
"""

import sys

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

import ptilde
from ptilde.report import plot_calibration, plot_importance, plot_partial_dependence

rng = np.random.default_rng(0)
n, fitted = 15_000, 10_000
X = pd.DataFrame(
    {
        "driver_age": rng.integers(18, 80, n),
        "power": rng.gamma(8, 10, n).round(),
        "region": rng.choice(["north", "south", "coast", "city"], n, p=[0.4, 0.3, 0.2, 0.1]),
        "colour": rng.choice(["red", "grey", "blue"], n),  # which matters to nobody
    }
)
years = rng.uniform(0.1, 1, n)
young, city = (X["driver_age"] < 27).to_numpy(), (X["region"] == "city").to_numpy()
frequency = 0.25 * years * np.exp(0.7 * young + 0.5 * city)
p_claim = 1 - np.exp(-frequency)
mu, sd = 6.5 + 0.004 * X["power"].to_numpy() + 0.3 * young, 1.1
DEDUCTIBLE, FROM, LIMIT = 200.0, 1000.0, 5000.0
amount = np.maximum(np.exp(rng.normal(mu, sd)), DEDUCTIBLE)
y = pd.Series(np.where(rng.random(n) < p_claim, amount.round(2), 0.0), name="claims")


def beyond(c):
    """The mean of max(amount - c, 0) of a log-normal amount."""
    d = (mu - np.log(c)) / sd
    return np.exp(mu + sd**2 / 2) * norm.cdf(d + sd) - c * norm.cdf(d)


truth = pd.DataFrame(
    {
        "pure premium": p_claim * (DEDUCTIBLE + beyond(DEDUCTIBLE)),
        "layer": p_claim * (beyond(FROM) - beyond(FROM + LIMIT)),
        "P(claim)": p_claim,
    }
)[fitted:]

model = ptilde.ScoreRegressor(n_estimators=2, max_iter=600, random_state=0)
model.fit(X[:fitted], y[:fitted], exposure=years[:fitted])
print(model.schema_)
new, e = X[fitted:], years[fitted:]
found = pd.DataFrame(
    {
        "pure premium": model.predict(new, e),
        "layer": model.layer(new, FROM, LIMIT, e),
        "P(claim)": 1 - model.predict_atoms(new, e)[0.0],
    }
)
for name in truth:
    ours, known = found[name].to_numpy(), truth[name].to_numpy()
    corr = np.corrcoef(ours, known)[0, 1]
    print(f"{name:<13} total {ours.sum():>12,.1f}, truth {known.sum():>12,.1f}; correlation over policies {corr:.3f}")

total = model.aggregate(new[:1000], 4000, exposure=e[:1000])
for word, estimate in [
    ("mean of 1,000 policies", total.mean),
    ("value at risk 99 %", total.value_at_risk(0.99)),
    ("tail value at risk 99 %", total.tail_value_at_risk(0.99)),
]:
    print(f"{word:<24} {estimate.value:>12,.0f} ± {estimate.standard_error:,.0f}")

figure = Figure(figsize=(11, 3.4), layout="constrained")
left, middle, right = figure.subplots(1, 3)
plot_calibration(model.calibration(new, y[fitted:], exposure=e), left)
plot_importance(model.permutation_importance(new, y[fitted:], exposure=e), middle)
plot_partial_dependence(model.partial_dependence(new[:300], "driver_age", exposure=e[:300]), right, what=0.0)
ages = np.arange(18, 80)
known = [np.exp(-0.25 * e[:300] * np.exp(0.7 * (age < 27) + 0.5 * city[fitted:][:300])).mean() for age in ages]
right.plot(ages, known, "k--", lw=1, label="truth")
right.legend(fontsize=8)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "plot_pricing.png", dpi=110)
