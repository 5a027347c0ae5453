"""The whole law of a target given covariates."""

import time
from collections.abc import Callable
from typing import Any

import jax.random as jr
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ptilde import _validate, modelfile
from ptilde import checkpoint as checkpoints
from ptilde._arguments import seed_of, weights_of
from ptilde._validate import DataError
from ptilde.estimators import targets
from ptilde.estimators.base import of_the_data, told, training_rows, weighted_mean
from ptilde.estimators.predictions import AbstractPredictions
from ptilde.fit import Event, Printer, together
from ptilde.strata import Layout
from ptilde.tabular.covariates import Covariates
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.frames import Table
from ptilde.tabular.kinds import Kind
from ptilde.tabular.schema import Schema
from ptilde.train import folds, train

Array = NDArray[np.float64]
EXPOSURE = "log(exposure)"


class ScoreRegressor(RegressorMixin, AbstractPredictions):
    r"""The law of y given X: atoms such as zero or a limit, and the amounts between them.

    $p(y \mid x) = P(\text{state} \mid x)\, p(\text{amount} \mid \text{state}, x)$, each learnt by a network that starts
    from the law that does not know x and is stopped by held-out rows; the result is the mean of an ensemble, each
    member of which holds other rows out. Atoms, grids and supports of y are found by `Schema.infer`, or declared.

    With `exposure`, its logarithm is a covariate of both parts, whose effect is learnt: the probability of an atom and
    the law of the amounts may depend on it in any way, with no proportionality assumed.

    Args:
        schema: what the target may hold: a kind, or for several targets a `Schema`; found if None.
        n_estimators: members of the ensemble.
        random_state: seed of the fit, and of draws that are given none.
        max_iter: number of steps of each descent, or "auto": chosen from the size of the table.
        time_budget: seconds to fit for, instead of a number of steps. The result then depends on the machine's speed.
        verbose: whether progress is printed, a line every few seconds.
        callback: called with a `ptilde.fit.Event` about once a second.

    Attributes:
        schema_: the kinds of the targets.
        history_: by member and stage: step, loss, its terms, held-out loss.
        n_iter_: steps of the last descent.
        seed_: the integer seed that was used.
        n_features_in_: number of covariates, without the exposure.
        feature_names_in_: their names, for tables whose columns have names.
        fit_seconds_: time the fit took.

    References:
        Guth, Kadkhodaie & Simoncelli (2025), Learning normalized image densities via dual score matching.
        Durkan, Bekasov, Murray & Papamakarios (2019), Neural spline flows.
    """

    def __init__(
        self,
        schema: Schema | Kind | None = None,
        n_estimators: int = 4,
        random_state: Any = None,
        max_iter: int | str = "auto",
        time_budget: float | None = None,
        verbose: int = 0,
        callback: Callable[[Event], None] | None = None,
    ):
        self.schema = schema
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.max_iter = max_iter
        self.time_budget = time_budget
        self.verbose = verbose
        self.callback = callback

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
        checkpoint: Any = None,
    ) -> "ScoreRegressor":
        """Learn the law of y given X.

        Args:
            X: covariates: pandas, polars, pyarrow, or a 2-D array; numbers, text, empty cells.
            y: (n,) target, or (n, k) targets; numbers.
            sample_weight: (n,) weights.
            exposure: (n,) what each row was observed for, such as a share of a year; positive.
            checkpoint: a path: the file there says where the fit stands, as in `ScoreDensity.fit`.
        """
        began = time.monotonic()
        self._check_limits()
        _validate.whole("n_estimators", self.n_estimators, 1)
        table = self._open(X, reset=True)
        found = targets.opened(y, table.num_rows)
        weight = weights_of(sample_weight, table.num_rows)
        kept = checkpoints.opened(checkpoint)
        self._set_seed(kept)
        self.schema_ = targets.schema_of(self.schema, found, sample_weight)
        self._single, self._template = found.single, table.template
        rng = self._rng("table")
        columns = self.schema_.check(found.table)
        self._encoder = Encoder.fit(self.schema_, columns, weight, rng)
        order = self._encoder.encode(columns, rng)
        beside = self._with_exposure(table, exposure, reset=True)
        active = Layout.of(self._encoder).active_rows(order.state)
        plain = Covariates.fit(beside, weight)
        several = order.z.shape[1] > 0 and plain.several(beside)
        self._covariates = plain.indexed(beside, order.z, active, weight) if several else plain
        layout = Layout.of(self._encoder, self._covariates.basis)
        tell = together(self.callback, Printer() if self.verbose else None)
        fold = folds(order.state, order.z, self._rng("folds"))
        num_folds = max(int(fold.max()) + 1, 1)
        self._bind(kept, beside, weight, *found.table.columns.values(), n_estimators=self.n_estimators)
        members, self.history_ = [], {}
        for k in range(self.n_estimators):
            held_out = fold == k % num_folds
            # The index that held-out rows are judged with has not seen them.
            judged = plain.indexed(beside, order.z, active, weight * ~held_out) if several else plain
            given = judged.encode(beside)
            rows = training_rows(self._encoder, columns, weight, rng, held_out, given)
            left = None if self.time_budget is None else self.time_budget - (time.monotonic() - began)
            seconds = None if left is None else max(left, 1.0) / (self.n_estimators - k)
            word = "" if self.n_estimators == 1 else f"{k + 1} of {self.n_estimators}: "
            key = jr.fold_in(self._key("train"), k)
            # Scores cost as much as all the rest: the first member tells whether they help.
            with_scores = not members or (members[0].amounts is not None and members[0].amounts.network is not None)
            with checkpoints.kept(kept):
                joint, trajectories = train(
                    layout, rows, self.max_iter, seconds, key, _renamed(tell, word), with_scores, kept
                )
            members.append(joint)
            self.history_ |= {f"{word}{stage}": history for stage, history in told(trajectories).items()}
        self._members = tuple(members)
        self.n_iter_ = list(self.history_.values())[-1]["step"][-1] if self.history_ else 0
        self.fit_seconds_ = time.monotonic() - began
        return self

    # --- the law -----------------------------------------------------------------------------------------------------

    def score_samples(self, X: Any, y: Any, exposure: ArrayLike | None = None) -> Array:
        """The log density (n,) of each row's y given its X, in nats, with respect to what `ScoreDensity` says."""
        given, columns = self._given(X, exposure), self._columns(y, X)
        rows = self._encoder.encode(columns)
        value = logsumexp([m.log_prob(rows.state, rows.z, given) for m in self._members], axis=0)
        return of_the_data(value - np.log(len(self._members)), self._encoder, columns, rows)

    def pdf(self, X: Any, y: Any, exposure: ArrayLike | None = None) -> Array:
        """The density (n,) of each row's y; on an atom, its probability."""
        return np.exp(self.score_samples(X, y, exposure))

    def score(  # type: ignore[override]
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, exposure: ArrayLike | None = None
    ) -> float:
        """The mean log density of y given X, in nats; rows of weight 0 do not count."""
        value = self.score_samples(X, y, exposure)
        return weighted_mean(value, weights_of(sample_weight, len(value)))

    def sample(
        self, X: Any, n_samples: int = 1, random_state: Any = None, exposure: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """(n, n_samples) draws of y given each row of X; (n, n_samples, k) of k targets, drawn together."""
        _validate.whole("n_samples", n_samples, 1)
        drawn = self._draws(self._given(X, exposure), int(n_samples), self._key("sample", random_state))
        return drawn[..., 0] if self._single else drawn

    def _draws(self, given: NDArray[np.float32], num: int, key: Any) -> Array:
        """(n, num, k) draws given covariates (n, c)."""
        given = np.repeat(given, num, axis=0)
        member = np.asarray(jr.randint(jr.fold_in(key, 0), (len(given),), 0, len(self._members)))
        drawn = np.empty((len(given), len(self.schema_.columns)))
        for k, joint in enumerate(self._members):
            rows, (of_states, of_amounts) = member == k, jr.split(jr.fold_in(key, 1 + k))
            if not rows.any():
                continue
            state = joint.draw_states(int(rows.sum()), of_states, given[rows])
            z = joint.draw_amounts(state, of_amounts, None, given[rows])
            drawn[rows] = np.stack(list(self._encoder.decode(state, z).values()), axis=1)
        return drawn.reshape(-1, num, drawn.shape[1])

    def report(
        self, X_test: Any, y_test: Any, path: Any, exposure: ArrayLike | None = None, random_state: Any = None
    ) -> Any:
        """Write one HTML page that says how good the fit is, in words, numbers and pictures.

        Args:
            X_test: covariates of rows that the fit has not seen, 20 or more.
            y_test: their targets; one column.
            path: of the page.
            exposure: of the rows, if the fit had one.
            random_state: seed of draws and shuffles; the fit's own if None.

        Returns:
            The `ptilde.report.RegressorVerdict`, whose `findings` are the page's sentences, `to_dict()` its numbers.
        """
        from ptilde.report import measure_regressor, write_page  # the page lies above: only this method reaches up

        check_is_fitted(self)
        seed = self.seed_ if random_state is None else seed_of(random_state)
        verdict = measure_regressor(self, X_test, y_test, exposure, seed=seed % 2**32)
        write_page(verdict, path, f"The law of {verdict.target}, and its verdict")
        return verdict

    def _repr_html_(self) -> str:
        from ptilde.report import of_model

        return of_model(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # What Jupyter asks for first; scikit-learn's own has its diagram, with a script.
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def save(self, path: Any) -> None:
        """Write the model to one safe file (`.ptilde`); nothing in it can run."""
        check_is_fitted(self)
        facts = {"seed": self.seed_, "n_iter": self.n_iter_, "fit_seconds": self.fit_seconds_, "history": self.history_}
        facts |= {"names": [str(n) for n in getattr(self, "feature_names_in_", ())], "single": self._single}
        fitted = modelfile.Fitted(self.schema_, self._template, self._encoder, self._members, facts, self._covariates)
        modelfile.save(fitted, path)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _given(self, X: Any, exposure: Any) -> NDArray[np.float32]:
        check_is_fitted(self)
        return self._covariates.encode(self._with_exposure(self._open(X, reset=False), exposure))

    def _columns(self, y: Any, X: Any) -> dict[str, NDArray[Any]]:
        check_is_fitted(self)
        num_rows = len(X) if hasattr(X, "__len__") else X.num_rows
        return self.schema_.check(targets.opened(y, num_rows, tuple(self.schema_.columns)).table)

    def _with_exposure(self, table: Table, exposure: Any, reset: bool = False) -> Table:
        """The covariates with the logarithm of the exposure among them."""
        if EXPOSURE in table.columns:
            raise DataError(f"No covariate may be called {EXPOSURE!r}: the exposure goes by that name. Rename it.")
        wanted = exposure is not None if reset else EXPOSURE in self._covariates.names
        if (exposure is not None) != wanted:
            had, cure = ("had an", "Give one") if wanted else ("had no", "Leave it out, or fit with one")
            raise DataError(f"`exposure` must be given as in the fit, which {had} exposure. {cure}.")
        if exposure is None:
            return table
        values = np.asarray(exposure, np.float64)
        if values.shape != (table.num_rows,):
            raise DataError(f"`exposure` must have one number a row, {table.num_rows}; got shape {values.shape}.")
        if not np.all((values > 0) & np.isfinite(values)):
            row = int(np.argmin((values > 0) & np.isfinite(values)))
            raise DataError(f"`exposure` must be positive and finite; got {values[row]} in row {row}.")
        return table._replace(columns=table.columns | {EXPOSURE: np.log(values)})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # `score` is a log density, no R²
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


def _renamed(tell: Callable[[Event], None] | None, word: str) -> Callable[[Event], None] | None:
    """Events that say which member they are of."""
    return None if tell is None else lambda event: tell(event._replace(stage=word + event.stage))
