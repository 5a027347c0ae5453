"""The density of a table's rows."""

import time
from collections.abc import Callable
from typing import Any

import jax.random as jr
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from ptilde import _validate, modelfile
from ptilde import checkpoint as checkpoints
from ptilde._arguments import seed_of, weights_of
from ptilde.conditional import Completion
from ptilde.estimators.base import AbstractScoreEstimator, of_the_data, told, training_rows, weighted_mean
from ptilde.fit import Event, Printer, together
from ptilde.normalizer import LogNormalizer, importance
from ptilde.samplers import NoiseSampler
from ptilde.strata import Layout
from ptilde.tabular.encoder import Encoder, Rows
from ptilde.tabular.frames import filled, frame_like, open_table
from ptilde.tabular.kinds import empty
from ptilde.tabular.schema import Schema
from ptilde.tabular.stream import Stream
from ptilde.tabular.subsample import subsample
from ptilde.train import held_out_rows, train

_REPORTED_ROWS = 1000, 20_000  # drawn for a report: as many as held-out rows, within these
_ODE_ROWS = 200  # scored by both routes


class ScoreDensity(DensityMixin, AbstractScoreEstimator):
    """The density of a table's rows, estimated by dual score matching: normalised, on atoms and bodies.

    `log p(row) = log P(state) + log p(amounts | state)`, in nats, with respect to point masses on atoms, categories
    and missing cells, and Lebesgue measure on bodies, in the units of the data. A column recorded on a grid has its
    density with respect to the grid: the probability of the recorded value divided by the step.

    Args:
        schema: what the columns may hold; found by `Schema.infer` if None.
        random_state: seed of the fit, and of draws that are given none.
        max_iter: number of steps of each descent, or "auto": chosen from the size of the table.
        time_budget: seconds to fit for, instead of a number of steps. The result then depends on the machine's speed.
        verbose: whether progress is printed, a line every few seconds.
        callback: called with a `ptilde.fit.Event` about once a second.

    Attributes:
        schema_: the kinds of the columns.
        history_: by stage ("states", "scores", "map", "sharper map", "scores behind the map"): step, loss,
            its terms, held-out loss.
        n_iter_: steps taken for the amounts, or for the states if there are none.
        seed_: the integer seed that was used.
        n_features_in_: number of columns.
        feature_names_in_: their names, for tables whose columns have names.
        fit_seconds_: time the fit took.

    References:
        Hyvärinen (2005), Estimation of non-normalized statistical models by score matching.
        Guth, Kadkhodaie & Simoncelli (2025), Learning normalized image densities via dual score matching.
    """

    def __init__(
        self,
        schema: Schema | None = None,
        random_state: Any = None,
        max_iter: int | str = "auto",
        time_budget: float | None = None,
        verbose: int = 0,
        callback: Callable[[Event], None] | None = None,
    ):
        self.schema = schema
        self.random_state = random_state
        self.max_iter = max_iter
        self.time_budget = time_budget
        self.verbose = verbose
        self.callback = callback

    def fit(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None, checkpoint: Any = None
    ) -> "ScoreDensity":
        """Estimate the density of the rows of `X`: pandas, polars, pyarrow, or a 2-D array; `y` is ignored.

        A `Stream`, a table on disk that may be larger than memory, is learnt from as its `subsample`.

        With `checkpoint`, a path, the file there says every half a minute where the fit stands, and at last that it is
        over. The same call after the process was killed, however, goes on from there and ends in the same model, bit
        for bit unless `time_budget` plans by the clock. Delete the file when the model is saved.

        Raises:
            DataError: if the table cannot be used; if the checkpoint is of another table or of other settings.
        """
        if isinstance(X, Stream):
            return self._fit_stream(X, sample_weight, checkpoint)
        began = time.monotonic()
        self._check_limits()
        if self.schema is not None and not isinstance(self.schema, Schema):
            raise ValueError(f"`schema` must be a ptilde.Schema or None; got {type(self.schema).__name__}.")
        table = self._open(X, reset=True)
        weight = weights_of(sample_weight, table.num_rows)
        kept = checkpoints.opened(checkpoint)
        self._set_seed(kept)
        self.schema_ = Schema.infer(table, sample_weight) if self.schema is None else self.schema
        rng = self._rng("table")
        columns = self.schema_.check(table)
        self._template = table.template
        self._encoder = Encoder.fit(self.schema_, columns, weight, rng)
        held_out = held_out_rows(len(weight), rng)
        rows = training_rows(self._encoder, columns, weight, rng, held_out)
        tell = together(self.callback, Printer() if self.verbose else None)
        self._bind(kept, table, weight)
        layout, limits = Layout.of(self._encoder), (self.max_iter, self.time_budget)
        with checkpoints.kept(kept):
            self._joint, trajectories = train(layout, rows, *limits, self._key("train"), tell, keeper=kept)
        self.history_ = told(trajectories)
        self.n_iter_ = list(self.history_.values())[-1]["step"][-1] if self.history_ else 0
        self.fit_seconds_ = time.monotonic() - began
        return self

    def _fit_stream(self, X: Stream, sample_weight: Any, checkpoint: Any) -> "ScoreDensity":
        if sample_weight is not None:
            raise ValueError("`sample_weight` must be None for a Stream; got one. Weight a table in memory.")
        rows = subsample(X, seed=0 if self.random_state is None else seed_of(self.random_state))
        with rows.numbered():
            return self.fit(rows.table, sample_weight=rows.weight, checkpoint=checkpoint)

    def score_samples(self, X: Any, method: str = "one_pass", return_error: bool = False) -> Any:
        """The log density (n,) of each row, in nats.

        Args:
            X: rows; columns of named tables may come in any order.
            method: "one_pass": one evaluation of the network. "ode": by the probability-flow ODE, slow and independent
                of the network's own normalisation.
            return_error: with "ode", also an estimate (n,) of the numerical error.

        Returns:
            (n,) log densities. A row with a value that the schema gives no probability has -inf, and a warning names
            the value.
        """
        _validate.one_of("method", method, ("one_pass", "ode"))
        columns, rows = self._rows(X)
        if method == "ode":
            value, error = self._joint.flow_log_prob(rows.state, rows.z, self._key("ode"))
        else:
            value, error = self._joint.log_prob(rows.state, rows.z), np.zeros(len(rows.state))
        value = of_the_data(value, self._encoder, columns, rows)
        return (value, error) if return_error else value

    def score(  # type: ignore[override]
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """The mean log density of the rows, in nats; rows of weight 0 do not count, and `y` is ignored."""
        value = self.score_samples(X)
        return weighted_mean(value, weights_of(sample_weight, len(value)))

    def sample(
        self,
        n_samples: int = 1,
        random_state: Any = None,
        given: Any = None,
        log_weight: Callable[[Any], ArrayLike] | None = None,
        sampler: NoiseSampler | None = None,
    ) -> Any:
        """Draw rows: the same kind of table, column order and types as was fitted; atoms are exact.

        Args:
            n_samples: how many; with `given`, for each of its rows, one after the other.
            random_state: seed; the fit's own if None, so that the same call gives the same rows.
            given: a table with some of the columns: every row is completed, its empty cells and the other columns
                drawn from their law given the rest.
            log_weight: rows (a table) ↦ (n,) log w, or true and false, to draw from the density times w: rows whose
                total exceeds a limit, an Esscher transform, or p^(1/T) with `(1 / T - 1) * score_samples(rows)`.
            sampler: of amounts from the noise-conditional density, such as `samplers.PredictorCorrector()`;
                `samplers.ProbabilityFlow()` if None. With `given` or `log_weight` a chain draws, and there is none.

        Raises:
            DataError: if a given value has no probability.
            ValueError: if the model draws no row that the weight lets through.
        """
        check_is_fitted(self)
        _validate.whole("n_samples", n_samples, 1)
        if sampler is not None and (given is not None or log_weight is not None):
            raise ValueError("`sampler` must be None with `given` or `log_weight`; leave one of them out.")
        if not isinstance(sampler, NoiseSampler | None):
            raise ValueError(
                f"`sampler` must be a ProbabilityFlow, PredictorCorrector or Annealed; got {type(sampler).__name__}."
            )
        key, n = self._key("sample", random_state), int(n_samples)
        weight = None if log_weight is None else lambda columns: log_weight(frame_like(self._template, columns))
        if given is not None:
            columns = self.schema_.check(open_table(given), holes=True, absent=True)
            drawn = self._completion().fill({k: np.repeat(v, n) for k, v in columns.items()}, key, log_weight=weight)
        elif weight is not None:
            drawn = self._completion().draw(n, key, weight)
        else:
            states, amounts = jr.split(key)
            state = self._joint.draw_states(n, states)
            drawn = self._encoder.decode(state, self._joint.draw_amounts(state, amounts, sampler))
        return frame_like(self._template, drawn)

    def impute(self, X: Any, n_draws: int | None = None, random_state: Any = None) -> Any:
        """The table with its empty cells drawn from their law given the others in their row.

        Cells that are there stay as they are, to the last bit. Columns that may be missing by their kind are drawn as
        if they were not. Where cells are missing for reasons that the others do not tell, nothing here can know.

        Args:
            X: rows; any cell of a modelled column may be empty.
            n_draws: how many tables, each with draws of its own, as multiple imputation wants them (Rubin 1987).
            random_state: seed; the fit's own if None.

        Returns:
            A table like `X`, or a list of `n_draws` of them.

        Raises:
            DataError: if a value that is there has no probability.
        """
        check_is_fitted(self)
        _validate.whole("n_draws", 1 if n_draws is None else n_draws, 1)
        columns = self.schema_.check(self._open(X, reset=False), holes=True)
        holed = [name for name, values in columns.items() if empty(values).any()]
        key, tables = self._key("impute", random_state), []
        for i in range(n_draws or 1):
            drawn = self._completion().fill(columns, jr.fold_in(key, i), present=True) if holed else {}
            tables.append(filled(X, self._template, {name: drawn[name] for name in holed}))
        return tables[0] if n_draws is None else tables

    def grad_log_density(self, X: Any) -> NDArray[np.float64]:
        """The score: (n, n_features_in_) derivatives of the log density in the units of the data.

        NaN where a column is on an atom, a category or missing, where it was left out, and in rows outside the support.
        """
        columns, rows = self._rows(X)
        of_z = self._joint.gradient(rows.state, rows.z)
        by_name = self._encoder.gradient(columns, of_z)
        nothing = np.full(len(rows.state), np.nan)
        gradient = np.stack([by_name.get(name, nothing) for name in self._template.names], axis=1)
        gradient[rows.outside] = np.nan
        return gradient

    def log_normalizer(self, n_samples: int = 4096, random_state: Any = None) -> LogNormalizer:
        """The logarithm of the one-pass density's total mass, and its standard error: 0 if it is perfectly normalised.

        Importance sampling from the probability flow, whose draws have a known density: unbiased, whatever the network
        has learnt.
        """
        check_is_fitted(self)
        _validate.whole("n_samples", n_samples, 2)
        return importance(self._joint.log_ratio(int(n_samples), self._key("normalizer", random_state)))

    def report(self, X_test: Any, path: Any, X_train: Any = None, random_state: Any = None) -> Any:
        """Write one HTML page that says how good the fit is, in words, numbers and pictures.

        Args:
            X_test: rows that the fit has not seen, 20 or more.
            path: of the page.
            X_train: the rows of the fit, which tell whether draws repeat them; without, halves of `X_test` are the
                floor of each other.
            random_state: seed of the draws and tests; the fit's own if None.

        Returns:
            The `ptilde.report.Verdict`, whose `findings` are the page's sentences and `to_dict()` its numbers.
        """
        from ptilde.report import measure, write_page  # the page lies above: only this method reaches up

        check_is_fitted(self)
        seed = self.seed_ if random_state is None else seed_of(random_state)
        draws = self.sample(int(np.clip(open_table(X_test).num_rows, *_REPORTED_ROWS)), random_state=seed)
        verdict = measure(self, X_train, X_test, draws, seed=seed % 2**32, num_ode_rows=_ODE_ROWS)
        write_page(verdict, path)
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
        facts |= {"names": [str(n) for n in getattr(self, "feature_names_in_", ())]}
        modelfile.save(modelfile.Fitted(self.schema_, self._template, self._encoder, self._joint, facts), path)

    def _rows(self, X: Any) -> tuple[dict[str, NDArray[Any]], Rows]:
        check_is_fitted(self)
        columns = self.schema_.check(self._open(X, reset=False))
        return columns, self._encoder.encode(columns)

    def _completion(self) -> Completion:
        """What draws from conditional laws, made once for a fit."""
        kept = getattr(self, "_kept", None)
        if kept is None or kept.joint is not self._joint:
            kept = self._kept = Completion.of(self._encoder, self._joint, self._key("proposal"))
        return kept
