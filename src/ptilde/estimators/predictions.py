"""What is asked of the law of a target: means, quantiles, layers, portfolios; and what explains it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax.random as jr
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ptilde import _validate
from ptilde._arguments import seed_of, weights_of
from ptilde.estimators import explanations, targets
from ptilde.estimators.base import AbstractScoreEstimator
from ptilde.estimators.portfolio import Aggregate
from ptilde.joint import JointDensity
from ptilde.predictive import PredictiveLaw, predictive_laws
from ptilde.tabular.covariates import Covariates
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.schema import Schema

Array = NDArray[np.float64]
_DRAWS = 1000  # behind a mean or a quantile of one of several targets


class AbstractPredictions(AbstractScoreEstimator):
    """Questions to a fitted law of y given X: of n rows of covariates, with their exposure if the fit had one."""

    schema_: Schema
    _members: tuple[JointDensity, ...]
    _encoder: Encoder
    _covariates: Covariates
    _single: bool

    _given: Callable[..., NDArray[np.float32]]
    _columns: Callable[..., dict[str, NDArray[Any]]]
    _draws: Callable[..., Array]

    def cdf(self, X: Any, y: Any, exposure: ArrayLike | None = None, strict: bool = False) -> Array:
        """(n,) probability of values up to y, or if `strict` below it; they differ on atoms and grids."""
        values = next(iter(self._columns(y, X).values()))
        return self._each(X, exposure, lambda law, rows: law.cdf(values[rows, None], strict)[:, 0])

    def crps(self, X: Any, y: Any, exposure: ArrayLike | None = None) -> Array:
        """(n,) continuous ranked probability score of each row, in the units of y; less is better."""
        values = next(iter(self._columns(y, X).values()))
        return self._each(X, exposure, lambda law, rows: law.crps(values[rows]))

    def predict(self, X: Any, exposure: ArrayLike | None = None, method: str = "one_pass") -> Array:
        """The mean of y given each row of X.

        Args:
            X: covariates.
            exposure: of each row, if the fit had one.
            method: "one_pass": by quadrature of the one-pass density. "ode": by the probability flow, slow and
                independent of the network's own normalisation.

        Returns:
            (n,) means; of several targets (n, k), each the mean of 1,000 draws.
        """
        _validate.one_of("method", method, ("one_pass", "ode"))
        check_is_fitted(self)
        if not self._single:
            self._refuse_ode(method)
            return self._drawn(X, exposure, lambda y: y.mean(axis=1))
        return self._each(X, exposure, lambda law, rows: law.mean(), method)

    def predict_quantile(
        self, X: Any, q: ArrayLike, exposure: ArrayLike | None = None, method: str = "one_pass"
    ) -> Array:
        """Quantiles of y given each row of X: (n, len(q)), or (n,) for one q; of k targets (n, len(q), k)."""
        _validate.one_of("method", method, ("one_pass", "ode"))
        levels = np.atleast_1d(np.asarray(q, np.float64))
        for level in levels.tolist():
            _validate.share("q", level)
        check_is_fitted(self)
        if not self._single:
            self._refuse_ode(method)
            found = self._drawn(X, exposure, lambda y: np.moveaxis(np.quantile(y, levels, axis=1), 0, 1))
        else:
            found = self._each(X, exposure, lambda law, rows: law.quantile(levels), method)
        return found[:, 0] if np.ndim(q) == 0 else found

    def predict_interval(self, X: Any, level: float = 0.9, exposure: ArrayLike | None = None) -> Array:
        """(n, 2) the central interval that holds y with at least this probability."""
        _validate.share("level", level)
        return self.predict_quantile(X, [(1 - level) / 2, (1 + level) / 2], exposure)

    def predict_atoms(self, X: Any, exposure: ArrayLike | None = None) -> dict[Any, Any]:
        """The probability (n,) of each atom; of several targets, such a dictionary for each."""
        shares = targets.atom_shares(self._members, self._encoder, self._given(X, exposure))
        return next(iter(shares.values())) if self._single else shares

    def expected_shortfall(self, X: Any, level: float, exposure: ArrayLike | None = None) -> Array:
        """(n,) the mean of y beyond its quantile at the level, such as .99."""
        _validate.share("level", level)
        return self._each(X, exposure, lambda law, rows: law.expected_shortfall(level))

    def layer(self, X: Any, attachment: float, limit: float, exposure: ArrayLike | None = None) -> Array:
        """(n,) the expected payment of a layer: the mean of min(max(y - attachment, 0), limit)."""
        _validate.finite("attachment", attachment)
        _validate.at_least("limit", limit, 0)
        return self._each(X, exposure, lambda law, rows: law.layer(attachment, limit))

    def limited_expected_value(self, X: Any, limit: float, exposure: ArrayLike | None = None) -> Array:
        """(n,) the mean of min(y, limit)."""
        _validate.finite("limit", limit)
        return self._each(X, exposure, lambda law, rows: law.expectation(lambda y: np.minimum(y, limit)))

    def aggregate(
        self, X: Any, n_sims: int = 10_000, random_state: Any = None, exposure: ArrayLike | None = None
    ) -> Aggregate:
        """The law of the total of y over the rows of X, independent given X, by simulation."""
        _validate.whole("n_sims", n_sims, 2)
        seed = self.seed_ if random_state is None else seed_of(random_state)
        total, mean = np.zeros(int(n_sims)), 0.0
        for block, (_, law) in enumerate(self._laws(X, exposure)):
            total += law.total(int(n_sims), np.random.default_rng([seed % 2**32, block]))
            mean += float(law.mean().sum())
        return Aggregate(total, mean)

    def permutation_importance(
        self,
        X: Any,
        y: Any,
        n_repeats: int = 5,
        random_state: Any = None,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> explanations.Importance:
        """By how many nats the mean log density falls when a covariate is shuffled over the rows (Breiman 2001)."""
        _validate.whole("n_repeats", n_repeats, 1)
        given, rows = self._given(X, exposure), self._encoder.encode(self._columns(y, X))
        seed = self.seed_ if random_state is None else seed_of(random_state)
        weight = weights_of(sample_weight, len(given))
        rng = np.random.default_rng(seed % 2**32)
        return explanations.importance(self._members, self._covariates, rows, given, weight, int(n_repeats), rng)

    def partial_dependence(
        self, X: Any, feature: str, n_values: int = 20, level: float = 0.99, exposure: ArrayLike | None = None
    ) -> explanations.Dependence:
        """Mean, quantile and atoms' probabilities when one covariate has each of some values in all rows, averaged.

        Args:
            X: rows to average over; some 1,000 of them are taken.
            feature: name of the covariate; "x0" and so on for those of an array.
            n_values: how many values of a numeric covariate, at its quantiles.
            level: of the quantile.
            exposure: of the rows.

        References:
            Friedman (2001), Greedy function approximation: a gradient boosting machine, section 8.2.
        """
        _validate.whole("n_values", n_values, 2)
        _validate.share("level", level)
        _validate.one_of("feature", feature, self._covariates.names)
        given = self._given(X, exposure)
        self._one_target()
        return explanations.dependence(
            self._members, self._covariates, self._encoder.columns[0], given, feature, int(n_values), level
        )

    def calibration(
        self,
        X: Any,
        y: Any,
        n_bins: int = 10,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> explanations.Calibration:
        """Observed beside predicted means, in bins of rows alike in their predicted mean: the lift chart."""
        _validate.whole("n_bins", n_bins, 2)
        check_is_fitted(self)
        self._one_target()
        observed = next(iter(self._columns(y, X).values()))
        return explanations.calibration(
            self.predict(X, exposure), observed, weights_of(sample_weight, len(observed)), int(n_bins)
        )

    def _laws(self, X: Any, exposure: Any, method: str = "one_pass") -> Iterator[tuple[slice, PredictiveLaw]]:
        given = self._given(X, exposure)
        self._one_target()
        return predictive_laws(self._members, self._encoder.columns[0], given, method)

    def _refuse_ode(self, method: str) -> None:
        if method == "ode":
            raise ValueError('`method` must be "one_pass" for several targets, whose laws are drawn; got "ode".')

    def _one_target(self) -> None:
        if not self._single:
            raise ValueError(
                f"This is for one target; got {len(self.schema_.columns)}: {', '.join(self.schema_.columns)}. Fit a "
                "ScoreRegressor for each, or use `sample`, whose draws are joint."
            )

    def _each(self, X: Any, exposure: Any, what: Callable, method: str = "one_pass") -> Array:
        return np.concatenate([what(law, rows) for rows, law in self._laws(X, exposure, method)])

    def _drawn(self, X: Any, exposure: Any, what: Callable[[Array], Array]) -> Array:
        """A function of draws (b, draws, k), over all rows."""
        given, key = self._given(X, exposure), self._key("sample")
        blocks = [given[a : a + 500] for a in range(0, len(given), 500)]
        return np.concatenate([what(self._draws(b, _DRAWS, jr.fold_in(key, i))) for i, b in enumerate(blocks)])
