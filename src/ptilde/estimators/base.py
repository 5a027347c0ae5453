"""What the estimators share: parameters, tables at the door, training rows, keys."""

import warnings
from typing import Any

import jax.random as jr
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from ptilde import _validate
from ptilde._arguments import seed_of
from ptilde.checkpoint import Checkpoint, digest
from ptilde.fit import Trajectory
from ptilde.tabular.encoder import Encoder, Rows
from ptilde.tabular.frames import Table, open_table
from ptilde.train import Encoded

# A table with a grid is repeated, each time with other places within the cells, up to so many rows.
_DEQUANTISED_ROWS = 200_000
_MOST_COPIES = 8
_STREAMS = {"table": 0, "train": 1, "sample": 2, "ode": 3, "normalizer": 4, "impute": 5, "proposal": 6, "folds": 7}


class AbstractScoreEstimator(BaseEstimator):
    """scikit-learn's face of a density that was learnt by its scores."""

    random_state: Any
    max_iter: int | str
    time_budget: float | None
    seed_: int
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def _check_limits(self) -> None:
        if not isinstance(self.max_iter, str):
            _validate.whole("max_iter", self.max_iter, 1)
        else:
            _validate.one_of("max_iter", self.max_iter, ("auto",))
        if self.time_budget is not None:
            _validate.positive("time_budget", self.time_budget)

    def _open(self, X: Any, reset: bool) -> Table:
        if hasattr(X, "columns") or hasattr(X, "column_names"):
            table = open_table(X)
            if reset:
                validate_data(self, X, reset=True, skip_check_array=True)
            return table
        checked = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False, ensure_min_samples=1)
        return open_table(checked)

    def _set_seed(self, kept: Checkpoint | None) -> None:
        """The seed of this fit; where none is given, that of the fit that is gone on with."""
        seed = None if kept is None or self.random_state is not None else kept.seed
        self.seed_ = seed_of(self.random_state) if seed is None else seed

    def _bind(self, kept: Checkpoint | None, table: Table, *beside: Any, **settings: Any) -> None:
        """Tell a checkpoint what this fit is given."""
        if kept is not None:
            schema = digest(repr(self.schema_.to_dict()))  # type: ignore[attr-defined]
            data = digest(*table.columns, *table.columns.values(), *beside)
            facts = {"estimator": type(self).__name__, "seed": self.seed_, "schema": schema, "table": data}
            kept.bind(facts | {"max_iter": self.max_iter, "time_budget": self.time_budget} | settings)

    def _rng(self, stream: str) -> np.random.Generator:
        return np.random.default_rng([self.seed_ % 2**32, _STREAMS[stream]])

    def _key(self, stream: str, random_state: Any = None) -> Any:
        seed = self.seed_ if random_state is None else seed_of(random_state)
        return jr.fold_in(jr.key(seed % 2**32), _STREAMS[stream])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = False
        return tags


def training_rows(
    encoder: Encoder,
    columns: Any,
    weight: NDArray[np.float64],
    rng: np.random.Generator,
    held_out: NDArray[np.bool_],
    given: NDArray[np.float32] | None = None,
) -> Encoded:
    """The rows of a table to learn from, those on a grid several times."""
    copies = 1
    if encoder.gridded:
        copies = int(np.clip(_DEQUANTISED_ROWS // len(weight), 1, _MOST_COPIES))
    parts = [encoder.encode(columns, rng) for _ in range(copies)]
    state, z = (np.concatenate([getattr(p, name) for p in parts]) for name in ("state", "z"))
    known = np.zeros((len(weight), 0), np.float32) if given is None else given
    return Encoded(state, z, np.tile(weight, copies), np.tile(held_out, copies), np.tile(known, (copies, 1)))


def of_the_data(value: NDArray[np.float64], encoder: Encoder, columns: Any, rows: Rows) -> NDArray[np.float64]:
    """Log densities (n,) of encoded rows as those of the rows themselves; outside the support -inf, and a warning."""
    if rows.outside.any():
        warnings.warn(
            f"Rows with values that have no probability get log density -inf: {encoder.outside_in_words(columns)}.",
            stacklevel=3,
        )
    return np.where(rows.outside, -np.inf, value + rows.log_slope)


def weighted_mean(value: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """The mean; a row of weight 0 does not count, whatever its value."""
    counts = weight > 0
    return float(np.average(value[counts], weights=weight[counts]))


def told(trajectories: dict[str, Trajectory]) -> dict[str, dict[str, list]]:
    """What is kept of each descent: step, loss, its terms, held-out loss."""
    return {
        stage: {"step": t.step, "loss": t.loss, "terms": t.terms, "validation": t.validation}
        for stage, t in trajectories.items()
    }
