"""Targets at the door: one column or several, as numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_y, check_consistent_length, column_or_1d

from ptilde._validate import DataError
from ptilde.joint import JointDensity
from ptilde.predictive import token_shares
from ptilde.tabular.build import Template
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.frames import Table, open_table
from ptilde.tabular.kinds import Kind
from ptilde.tabular.schema import Schema


class Targets(NamedTuple):
    """Targets as a table of numbers, and whether they were one column."""

    table: Table
    single: bool


def opened(y: Any, num_rows: int, names: Sequence[str] | None = None) -> Targets:
    """Targets (n,) or (n, k): an array, a list, a series or a frame.

    Args:
        y: the targets.
        num_rows: of the covariates.
        names: of the targets as they were fitted; their own, or "y", if None.
    """
    if y is None:
        raise ValueError("This ScoreRegressor requires y to be passed, but the target y is None.")
    if hasattr(y, "columns") or hasattr(y, "column_names"):
        table = open_table(y)
        if names is not None and len(names) > 1:
            if set(table.columns) != set(names):
                raise DataError(f"y must have the columns {', '.join(names)}; got {', '.join(table.columns)}.")
            table = table._replace(columns={name: table.columns[name] for name in names})
        text = next((name for name, values in table.columns.items() if values.dtype == object), None)
        if text is not None:
            raise DataError(f"Target {text!r} must hold numbers; got text. Code it as numbers, or drop it.")
        own, values = list(table.columns), np.stack(list(table.columns.values()), axis=1)
    else:
        own = [str(getattr(y, "name", None) or "y")]
        values = np.asarray(_check_y(np.asarray(y), multi_output=True, y_numeric=True, estimator="ScoreRegressor"))
    single = values.ndim == 1
    if values.ndim == 2 and values.shape[1] == 1:
        values, single = column_or_1d(values, warn=not hasattr(y, "columns")), True
    values = values.reshape(len(values), -1).astype(np.float64)
    check_consistent_length(np.empty(num_rows), values)
    if np.isnan(values).any():
        row, column = np.argwhere(np.isnan(values))[0]
        raise DataError(f"Targets must have no empty cell; got one in row {row}. Leave such rows out.")
    if len(own) != values.shape[1]:
        own = [f"y{j}" for j in range(values.shape[1])]
    own = list(names or own)
    if len(own) != values.shape[1]:
        raise DataError(
            f"y must have {len(own)} columns, {', '.join(own)}, as when it was fitted; got {values.shape[1]}."
        )
    columns = dict(zip(own, values.T, strict=True))
    template = Template("numpy", tuple(own), {name: {"dtype": "float64"} for name in own})
    return Targets(Table(columns, template, len(values)), single)


def schema_of(declared: Schema | Kind | None, found: Targets, sample_weight: Any) -> Schema:
    """The schema of the targets, found or declared."""
    if declared is None:
        schema = Schema.infer(found.table, sample_weight)
        if schema.left_out:
            name, reason = next(iter(schema.left_out.items()))
            raise DataError(f"Target {name!r} must be one that can be modelled; it is {reason}.")
        return schema
    names = list(found.table.columns)
    if isinstance(declared, Kind):
        if not found.single:
            raise ValueError(f"`schema` must be a Schema for {len(names)} targets; got the kind {declared!r}.")
        return Schema({names[0]: declared})
    if not isinstance(declared, Schema):
        raise ValueError(f"`schema` must be a ptilde.Schema, a kind or None; got {type(declared).__name__}.")
    if found.single and len(declared.columns) == 1:
        return Schema({names[0]: next(iter(declared.columns.values()))})
    return declared


def atom_shares(
    members: tuple[JointDensity, ...], encoder: Encoder, given: NDArray[np.float32]
) -> dict[str, dict[Any, NDArray[np.float64]]]:
    """Of each target, the probability (n,) of each of its points."""
    found, first = {}, 0
    total = sum(c.num_tokens for c in encoder.choosing)
    shares = np.mean([token_shares(m, given, total) for m in members], axis=0)
    for column in encoder.columns:
        found[column.name] = dict(zip(column.points, shares[:, first : first + len(column.points)].T, strict=True))
        first += column.num_tokens if column.num_tokens > 1 else 0
    return found
