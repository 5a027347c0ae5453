r"""What is known of a row beside what is modelled: covariates ⇄ numbers, and their features.

A number $x$ becomes its place $t(x) \in [0, T]$ among $T + 1$ knots at quantiles, linear between two of them and flat
outside; its features are $\min(\max(t - k, 0), 1)$ for $k = 0, \dots, T - 1$, whose linear combinations are the
piecewise linear functions of $x$ with kinks at the knots, and one more that is 1 where the cell is empty. A level
becomes its code, and its features are one-hot: code 0 stands for all that are rare or were never seen. So a linear
function of all features is an additive model, and a network of them need not find thresholds by itself. One more column
of numbers for each amount may say in one what all the others say of it (`Index`).

References:
    Gorishniy, Rubachev & Babenko (2022), On embeddings for numerical features in tabular deep learning, equation 1.
    Hastie & Tibshirani (1986), Generalized additive models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from ptilde._validate import DataError
from ptilde.tabular.frames import Table
from ptilde.tabular.index import NUM_SEGMENTS, Index
from ptilde.tabular.kinds import is_missing

# A level needs this many rows to be told apart, and so many may be.
FEWEST_ROWS, MOST_LEVELS = 20, 256
MOST_ROWS = 50_000  # that an index is fitted to


class Basis(NamedTuple):
    """The features of rows of covariates: sizes alone, so that columns of equal sizes share one compiled program.

    Attributes:
        segments: of each numeric column, which come first, the indices last among them.
        levels: of each column of levels, with that of all others.
        num_indices: how many of the numeric columns are indices.
    """

    segments: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    num_indices: int = 0

    @property
    def num_columns(self) -> int:
        """Numbers in a row of covariates."""
        return len(self.segments) + len(self.levels)

    @property
    def num_features(self) -> int:
        """Features of a row."""
        return sum(self.segments) + len(self.segments) + sum(self.levels)

    def __call__(self, given: Float[Array, " c"]) -> Float[Array, " f"]:
        """The features of one row of covariates."""
        parts = [jnp.zeros(0)]
        for t, num in zip(given[: len(self.segments)], self.segments, strict=True):
            there = ~jnp.isnan(t)
            place = jnp.clip(t - jnp.arange(num, dtype=jnp.float32), 0.0, 1.0)
            parts += [jnp.where(there, place, 0.0), 1.0 - there[None]]
        for code, num in zip(given[len(self.segments) :], self.levels, strict=True):
            parts.append((code == jnp.arange(num)).astype(jnp.float32))
        return jnp.concatenate(parts)

    def linear(self, effects: NDArray[np.float64], given: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) linear functions, of effects (k, f), of the features of rows (n, c), which are not written out."""
        total, at = np.zeros((len(given), len(effects))), 0
        for place, num in zip(given.T, self.segments, strict=False):
            at_knots = np.pad(effects[:, at : at + num], [(0, 0), (1, 0)]).cumsum(axis=1)
            told = np.stack([np.interp(place, np.arange(num + 1), values) for values in at_knots], axis=1)
            total += np.where(np.isnan(place)[:, None], effects[:, at + num], told)
            at += num + 1
        for code, num in zip(given.T[len(self.segments) :], self.levels, strict=True):
            total += effects[:, at : at + num].T[code.astype(int)]
            at += num
        return total

    @property
    def summarised(self) -> NDArray[np.bool_]:
        """(f,) features that are of no index."""
        first = len(self.segments) - self.num_indices
        of_indices = sum(self.segments[first:]) + self.num_indices
        before = sum(self.segments[:first]) + first
        return np.repeat([True, False, True], [before, of_indices, sum(self.levels)])

    def indices_alone(self, given: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows (n, c) of covariates of which all features that are of no index are 0."""
        last = len(self.segments)
        blank = np.where(np.arange(given.shape[1]) < last, 0.0, -1.0)
        of_index = (np.arange(given.shape[1]) < last) & (np.arange(given.shape[1]) >= last - self.num_indices)
        return np.where(of_index, given, blank).astype(np.float32)


NO_COVARIATES = Basis()


@dataclass(frozen=True, eq=False)
class Covariates:
    """The map from a table's columns to rows of covariates.

    Attributes:
        knots: of each numeric column, increasing; one knot where it does not vary.
        levels: of each other column, those with a code, from 1 on.
        index: of the amounts, if there is one.
    """

    knots: dict[str, NDArray[np.float64]]
    levels: dict[str, tuple[Any, ...]]
    index: Index | None = None

    @classmethod
    def fit(cls, table: Table, weight: NDArray[np.float64]) -> "Covariates":
        """The map fitted to a table; rows whose weight (n,) is 0 do not count, the others all alike."""
        numeric = {name: v for name, v in table.columns.items() if v.dtype != object and not _coded(table, name)}
        rest = {name: v for name, v in table.columns.items() if name not in numeric}
        knots = {name: _knots(v[weight > 0]) for name, v in numeric.items()}
        return cls(knots, {name: _levels(v[weight > 0]) for name, v in rest.items()})

    @property
    def basis(self) -> Basis:
        """The features of encoded rows."""
        indices = () if self.index is None else tuple(len(knots) - 1 for knots in self.index.knots)
        segments = tuple(len(knots) - 1 for knots in self.knots.values())
        return Basis(segments + indices, tuple(len(v) + 1 for v in self.levels.values()), len(indices))

    def indexed(self, table: Table, z: NDArray[Any], active: NDArray[np.bool_], weight: NDArray[Any]) -> "Covariates":
        """These with the index of amounts z (n, k), by rows of weight above 0."""
        some = np.flatnonzero(weight > 0)
        some = some[np.linspace(0, len(some) - 1, min(len(some), MOST_ROWS)).astype(int)]
        features = jax.vmap(self.basis)(jnp.asarray(self.encode(table)[some]))
        return replace(self, index=Index.fit(np.asarray(features), z[some], active[some], weight[some]))

    def several(self, table: Table) -> bool:
        """Whether two columns vary, so that there is something to sum up."""
        return sum(len(np.unique(column)) > 1 for column in self.encode(table).T) > 1

    @property
    def names(self) -> list[str]:
        """Of the columns of the table, in the order of encoded rows but for the indices."""
        return [*self.knots, *self.levels]

    def encode(self, table: Table) -> NDArray[np.float32]:
        """Rows (n, c) of covariates.

        Raises:
            DataError: if a column is absent or holds another type than it was fitted to.
        """
        rows = np.empty((table.num_rows, len(self.names)), np.float32)
        for j, name in enumerate(self.names):
            values = _present(table, name)
            if name in self.knots:
                rows[:, j] = _place(_numbers(name, values), self.knots[name])
            else:
                code = {_spelt(level): i for i, level in enumerate(self.levels[name], start=1)}
                rows[:, j] = [code.get(_spelt(v), 0) for v in values.tolist()]
        if self.index is None:
            return rows
        told = replace(self, index=None).basis.linear(self.index.effects, rows)
        places = [_place(eta, knots) for eta, knots in zip(told.T, self.index.knots, strict=True)]
        return np.insert(rows, [len(self.knots)], np.stack(places, axis=1), axis=1)

    def to_config(self) -> dict[str, Any]:
        """What `from_config` needs beside the arrays of `arrays`, for JSON."""
        numeric = [[name, len(knots)] for name, knots in self.knots.items()]
        levels = [[name, list(levels)] for name, levels in self.levels.items()]
        return {"numeric": numeric, "levels": levels, "indices": 0 if self.index is None else len(self.index.knots)}

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The knots, those of indices last, and the effects behind these, by name."""
        effects, of_indices = ({}, []) if self.index is None else ({"index": self.index.effects}, self.index.knots)
        return {f"covariate.{j}": knots for j, knots in enumerate([*self.knots.values(), *of_indices])} | effects

    @classmethod
    def from_config(cls, config: dict[str, Any], arrays: Mapping[str, Any]) -> "Covariates":
        """The inverse of `to_config` and `arrays`."""
        knots = {name: arrays[f"covariate.{j}"] for j, (name, _) in enumerate(config["numeric"])}
        of_indices = [arrays[f"covariate.{len(knots) + i}"] for i in range(config["indices"])]
        index = Index(arrays["index"], np.stack(of_indices)) if of_indices else None
        return cls(knots, {name: tuple(levels) for name, levels in config["levels"]}, index)


def _coded(table: Table, name: str) -> bool:
    """Whether numbers are names: a categorical of numbers."""
    spelling = str(table.template.dtypes.get(name, {}).get("dtype"))
    return spelling.startswith(("category", "Categorical", "Enum", "dictionary"))


def _knots(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every value of a column with few, else quantiles; those that are equal count once."""
    values = np.unique(x[~np.isnan(x)])
    if len(values) > NUM_SEGMENTS + 1:
        levels = np.linspace(0, 1, NUM_SEGMENTS + 1)
        values = np.unique(np.quantile(x[~np.isnan(x)], levels, method="inverted_cdf"))
    return values if len(values) else np.zeros(1)


def _levels(values: NDArray[Any]) -> tuple[Any, ...]:
    """The most frequent levels, an empty cell among them if frequent."""
    counts: dict[Any, int] = {}
    for value in map(_spelt, values.tolist()):
        counts[value] = counts.get(value, 0) + 1
    often = [level for level, count in counts.items() if count >= FEWEST_ROWS]
    return tuple(sorted(sorted(often, key=lambda v: -counts[v])[: MOST_LEVELS - 1], key=lambda v: (v is None, str(v))))


def _spelt(value: Any) -> Any:
    return None if is_missing(value) else value


def _place(x: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(x), np.nan, np.interp(x, knots, np.arange(len(knots), dtype=float)))


def _present(table: Table, name: str) -> NDArray[Any]:
    if name not in table.columns:
        raise DataError(
            f"The table must have the covariate {name!r}; got columns {', '.join(map(repr, table.columns))}."
        )
    return table.columns[name]


def _numbers(name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype != object:
        return values
    for row, value in enumerate(values.tolist()):
        if not is_missing(value):
            raise DataError(f"Covariate {name!r} must hold numbers, as when it was fitted; got {value!r} in row {row}.")
    return np.full(len(values), np.nan)
