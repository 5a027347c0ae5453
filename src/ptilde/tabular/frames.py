"""The door: frames of any library come in as NumPy columns, and NumPy columns go out as the same frame.

Inside, a column of numbers is float64 with NaN where a cell is empty; any other column is an object array of
strings, booleans or (beyond 2^53) integers with None where a cell is empty. Rows are counted from 0 in messages.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from ptilde._validate import DataError
from ptilde.tabular.build import BUILDERS, Template, native_type
from ptilde.tabular.kinds import is_missing, value_family

__all__ = ["Table", "Template", "filled", "frame_like", "open_table"]

_LARGEST = 2**53  # above it float64 no longer holds every integer
_NO_ATOM = {
    "Date": "a date",
    "Datetime": "a date and time",
    "Duration": "a duration",
    "Time": "a time of day",
    "List": "a list",
    "Array": "a list",
    "Struct": "a record",
    "Binary": "bytes",
}
_CURES = {
    "a date": "Turn dates into numbers, such as days since the first one, or drop the column.",
    "a list": "Give each element a column of its own, or drop the column.",
    "bytes": "Decode the bytes to text, or drop the column.",
    "a complex number": "Complex data not supported: give real and imaginary parts columns of their own.",
}


class Table(NamedTuple):
    """Columns by name in the order of the frame they came from, with what is needed to build such a frame."""

    columns: dict[str, NDArray[Any]]
    template: Template
    num_rows: int


def open_table(table: object) -> Table:
    """Take in a pandas, polars or pyarrow table, or a 2-D array, whose columns are then named x0, x1, ..."""
    if not hasattr(table, "collect"):  # a lazy frame would have to work to find its names
        labels = getattr(table, "column_names", getattr(table, "columns", None))
        if labels is not None and not callable(labels):
            _names(list(labels))  # before narwhals, which has its own words for duplicates
    frame = nw.from_native(table, pass_through=True)  # type: ignore[call-overload]
    if isinstance(frame, nw.LazyFrame):
        raise DataError("The table must be in memory; got a lazy frame. Call its `collect()` first.")
    if isinstance(frame, nw.DataFrame):
        return _open_frame(frame)
    return _open_array(table)


def frame_like(template: Template, columns: Mapping[str, NDArray[Any]], names: Sequence[str] | None = None) -> Any:
    """Build a frame of the template's library, its columns in the template's order with its types.

    Args:
        template: what `open_table` found.
        columns: the values; NaN and None are empty cells.
        names: the columns wanted; all of the template's that are in `columns` if left out.
    """
    wanted = set(columns if names is None else names)
    kept = [name for name in template.names if name in wanted]
    return BUILDERS[template.backend](template, {name: np.asarray(columns[name]) for name in kept})


def filled(frame: Any, template: Template, columns: Mapping[str, NDArray[Any]]) -> Any:
    """A frame, or an array, with some of its columns replaced; the others, their order and the index stay.

    Args:
        frame: what the person gave.
        template: of the table whose types the new columns get, where it is of the same library.
        columns: the new values.
    """
    own = open_table(frame).template
    wanted = template if own.backend == template.backend else own
    if own.backend == "numpy":
        whole = np.array(frame, object if any(v.dtype == object for v in columns.values()) else None)
        for name, values in columns.items():
            whole[:, own.names.index(name)] = values
        return whole
    new = nw.from_native(frame_like(wanted, columns), eager_only=True)
    old = nw.from_native(frame, eager_only=True)
    return old.with_columns(*(new[name] for name in new.columns)).to_native()


def _open_frame(frame: nw.DataFrame[Any]) -> Table:
    native = frame.to_native()
    backend = frame.implementation.value
    if backend not in BUILDERS:
        raise DataError(f"The table must be of pandas, polars or pyarrow, or an array; got one of {backend}.")
    labels = native.column_names if backend == "pyarrow" else list(native.columns)
    names = _names(labels)
    if len(frame) == 0:
        raise DataError(f"The table must have at least one row; got none (columns {', '.join(map(repr, names))}).")
    columns, types = {}, {}
    for position, name in enumerate(names):
        series = frame[:, position]
        columns[name] = _open_series(name, series)
        types[name] = native_type(backend, series.to_native())
    numbered = bool(names) and not any(isinstance(label, str) for label in labels)
    return Table(columns, Template(backend, tuple(names), types, numbered), len(frame))


def _names(labels: Sequence[Any]) -> list[str]:
    if not labels:
        raise DataError("The table must have at least one column; got none.")
    numbered = [isinstance(label, (int, np.integer)) and not isinstance(label, bool) for label in labels]
    if not all(numbered) and not all(isinstance(label, str) for label in labels):
        raise DataError(f"Column names must be all strings; got {list(labels)!r}. Rename the columns.")
    names = [str(label) for label in labels]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"Column names must be distinct; got {name!r} {names.count(name)} times. Rename one.")
    return names


def _open_series(name: str, series: nw.Series[Any]) -> NDArray[Any]:
    dtype = series.dtype
    if dtype.is_integer() and _too_large(series):
        return _objects(series.to_list())
    if dtype.is_numeric():
        return _finite(name, np.array(series.cast(nw.Float64()).to_numpy(), dtype=np.float64))
    kind = type(dtype).__name__
    if kind in _NO_ATOM:
        empty = series.is_null().to_list()
        _refuse(name, next((row for row, is_empty in enumerate(empty) if not is_empty), 0), _NO_ATOM[kind])
    return _open_cells(name, series.to_list())


def _too_large(series: nw.Series[Any]) -> bool:
    low, high = series.min(), series.max()
    return low is not None and high is not None and (int(low) < -_LARGEST or int(high) > _LARGEST)


def _open_array(table: object) -> Table:
    if isinstance(table, (str, bytes, Mapping)) or not hasattr(table, "__iter__"):
        raise DataError(
            f"The table must be of pandas, polars or pyarrow, or a 2-D array; got {type(table).__name__}. "
            "Read files with `ptilde.tabular.reader.read_table`."
        )
    array = np.asarray(table) if hasattr(table, "__array__") else _array_of_lists(table)
    if array.ndim != 2:
        raise DataError(
            f"Expected 2D array, got {array.ndim}D array instead: shape {array.shape}. Reshape your data either "
            "using array.reshape(-1, 1) if it has one column or array.reshape(1, -1) if it has one row."
        )
    if array.shape[0] == 0:
        raise DataError(f"The table must have at least one row; got none: shape {array.shape}.")
    names = [f"x{j}" for j in range(array.shape[1])]
    columns = {name: _open_array_column(name, array[:, j]) for j, name in enumerate(names)}
    _names(names)
    template = Template("numpy", tuple(names), {name: {"dtype": array.dtype.name} for name in names})
    return Table(columns, template, len(array))


def _array_of_lists(table: Any) -> NDArray[Any]:
    try:
        array = np.asarray(table)
    except ValueError as error:
        raise DataError(f"The rows must all have the same length; NumPy says: {error}") from None
    return array if array.dtype.kind in "biuf" else np.array(table, dtype=object)


def _open_array_column(name: str, column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind in "iu" and (column.min() < -_LARGEST or column.max() > _LARGEST):
        return _objects(column.tolist())
    if column.dtype.kind in "iuf":
        return _finite(name, column.astype(np.float64))
    return _open_cells(name, column.tolist())


def _open_cells(name: str, cells: list[Any]) -> NDArray[Any]:
    """Settle what a column of Python objects holds: one family of values, or else the first offender is named."""
    cells = [None if _is_empty(cell) else cell for cell in cells]
    families = {kind: _family_of_type(kind) for kind in set(map(type, cells)) - {type(None)}}
    found = set(families.values())
    if None in found or len(found) > 1:
        _refuse_mixed(name, cells, families)
    if found <= {"number"}:
        if any(isinstance(cell, int) and abs(cell) > _LARGEST for cell in cells):
            return _objects(cells)
        return _finite(name, np.array([np.nan if cell is None else float(cell) for cell in cells], dtype=np.float64))
    return _objects([bool(cell) if cell is not None and found == {"boolean"} else cell for cell in cells])


def _family_of_type(kind: type) -> str | None:
    if issubclass(kind, Decimal):
        return "number"
    return value_family(kind()) if issubclass(kind, (str, bool, int, float, np.generic)) else None


def _is_empty(cell: Any) -> bool:
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, (float, np.floating, Decimal)) and is_missing(cell)


def _refuse_mixed(name: str, cells: list[Any], families: dict[type, str | None]) -> None:
    rows = [(row, cell, families[type(cell)]) for row, cell in enumerate(cells) if cell is not None]
    for row, cell, family in rows:
        if family is None:
            _refuse(name, row, _description(cell), cell)
    first = rows[0]
    row, cell, _ = next(r for r in rows if r[2] != first[2])
    raise DataError(
        f"Column {name!r} must hold one type of value; got {first[1]!r} in row {first[0]} and {cell!r} in row {row}. "
        "Make them all numbers or all strings, with empty cells for what is missing."
    )


def _description(cell: Any) -> str:
    kind = type(cell).__name__
    if isinstance(cell, complex):
        return "a complex number"
    if kind in ("date", "datetime", "Timestamp", "datetime64", "Period"):
        return "a date"
    if isinstance(cell, bytes):
        return "bytes"
    return "a list" if isinstance(cell, (list, tuple, np.ndarray)) else f"a value of type {kind}"


def _refuse(name: str, row: int, what: str, *cell: Any) -> None:
    shown = f" ({cell[0]!r})" if cell else ""
    cure = _CURES.get("a date" if what == "a date and time" else what, "Turn it into numbers or text, or drop it.")
    raise DataError(f"Column {name!r} must hold numbers, text or booleans; got {what}{shown} in row {row}. {cure}")


def _finite(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise DataError(
            f"Column {name!r} must hold finite numbers; got {values[row]} in row {row}. "
            "Leave the cell empty if the value is missing, or replace it."
        )
    return values


def _objects(cells: list[Any]) -> NDArray[Any]:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array
