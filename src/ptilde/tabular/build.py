"""How a frame of each library is built from NumPy columns, and what must be remembered of one to do so.

Types are kept in the spelling of their library. A column goes back to its type where its values allow: whole numbers
to integers, wider ones if they are too large, and to the library's nullable type where a cell is empty.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptilde._validate import DataError
from ptilde.tabular.kinds import empty, is_missing

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Template:
    """What a frame looked like: its library, its columns' names and their types in the library's own spelling.

    Args:
        backend: "pandas", "polars", "pyarrow" or "numpy".
        names: the columns in order.
        dtypes: for each column {"dtype": spelling}, for categories also {"categories": [...], "ordered": bool}.
        numbered: whether the names were the numbers 0, 1, ... and not strings (pandas).
    """

    backend: str
    names: tuple[str, ...]
    dtypes: dict[str, dict[str, Any]] = field(default_factory=dict)
    numbered: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain lists and strings, for JSON."""
        return {
            "backend": self.backend,
            "names": list(self.names),
            "dtypes": {name: dict(spelling) for name, spelling in self.dtypes.items()},
            "numbered": self.numbered,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Template":
        """The inverse of `to_dict`."""
        if fields.get("backend") not in BUILDERS:
            raise DataError(f"`backend` must be one of {', '.join(BUILDERS)}; got {fields.get('backend')!r}.")
        names, dtypes = tuple(fields["names"]), {name: dict(d) for name, d in fields["dtypes"].items()}
        if not all(isinstance(name, str) and name in dtypes for name in names):
            raise DataError("`names` must be strings, each with an entry in `dtypes`.")
        return cls(fields["backend"], names, dtypes, bool(fields.get("numbered", False)))


def native_type(backend: str, series: Any) -> dict[str, Any]:
    """The type of a native column in the library's own spelling."""
    if backend == "pandas":
        spelling = {"dtype": str(series.dtype)}
        if spelling["dtype"] == "category":
            spelling |= {"categories": series.cat.categories.tolist(), "ordered": bool(series.cat.ordered)}
        return spelling
    if backend == "polars":
        if series.dtype.base_type().__name__ == "Enum":
            return {"dtype": "Enum", "categories": series.dtype.categories.to_list()}
        return {"dtype": str(series.dtype)}
    return {"dtype": str(series.type)}


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError(f"The table was one of {name}, which cannot be imported here. Install {name}.") from None


def _pandas_frame(template: Template, columns: Columns) -> Any:
    pandas = _library("pandas")
    series = {name: _pandas_series(pandas, template.dtypes[name], values) for name, values in columns.items()}
    frame = pandas.DataFrame(series)
    if template.numbered:
        frame.columns = [int(name) for name in columns]
    return frame


def _pandas_series(pandas: Any, spelling: dict[str, Any], values: NDArray[Any]) -> Any:
    name = spelling["dtype"]
    if name == "category":
        categories, codes = spelling["categories"], None
        dtype = pandas.CategoricalDtype(categories, ordered=spelling["ordered"])
        codes = {category: code for code, category in enumerate(categories)}
        cells = values.tolist()
        if all(is_missing(cell) or cell in codes for cell in cells):
            found = [-1 if is_missing(cell) else codes[cell] for cell in cells]
            return pandas.Series(pandas.Categorical.from_codes(found, dtype=dtype))
        return pandas.Series(cells, dtype="category")
    holes = empty(values)
    if "int" in name.lower():
        name = _integer_type(name, values, holes)
    if name == "bool" and holes.any():
        name = "boolean"
    if name == "object":
        return pandas.Series(_plain(values), dtype=object)
    if values.dtype == object:
        return pandas.Series(_plain(values)).astype(name)
    return pandas.Series(values).astype(name)


def _integer_type(name: str, values: NDArray[Any], holes: NDArray[np.bool_]) -> str:
    """The integer type that holds the values: the column's own, a wider or nullable one, or float64."""
    width = name.lower().split("[")[0]
    suffix = name[len(width) :]
    full = values[~holes].astype(np.float64)
    if not np.all(full == np.rint(full)):
        return "double[pyarrow]" if suffix else "Float64" if name[0].isupper() else "float64"
    limits = np.iinfo(width)
    if full.size and (full.min() < limits.min or full.max() > limits.max):
        width = "int64"
    if suffix:
        return width + suffix
    nullable = name[0] in "IU" or holes.any()
    return {"i": "Int", "u": "UInt"}[width[0]] + width.split("int")[1] if nullable else width


def _polars_frame(template: Template, columns: Columns) -> Any:
    polars = _library("polars")
    return polars.DataFrame([_polars_series(polars, name, template.dtypes[name], v) for name, v in columns.items()])


def _polars_series(polars: Any, name: str, spelling: dict[str, Any], values: NDArray[Any]) -> Any:
    base, _, arguments = spelling["dtype"].partition("(")
    if base == "Enum":
        known = set(spelling["categories"])
        inside = all(is_missing(cell) or cell in known for cell in values.tolist())
        dtype = polars.Enum(spelling["categories"]) if inside else polars.String
    elif base == "Decimal":
        numbers = dict(part.split("=") for part in arguments.rstrip(")").split(", "))
        dtype = polars.Decimal(int(numbers["precision"]), int(numbers["scale"]))
    elif base in ("Null", "Object"):
        dtype = None
    elif "Int" in base:
        width = _integer_type(base.lower(), values, empty(values)).lower()
        dtype = getattr(polars, {"i": "Int", "u": "UInt", "f": "Float"}[width[0]] + width.strip("uintfloa"))
    else:
        dtype = getattr(polars, base)
    if values.dtype == object or dtype is None:
        return polars.Series(name, _plain(values), dtype=dtype)
    return polars.Series(name, values, nan_to_null=True).cast(dtype)


def _pyarrow_table(template: Template, columns: Columns) -> Any:
    pyarrow = _library("pyarrow")
    arrays = [_pyarrow_array(pyarrow, template.dtypes[name]["dtype"], v) for name, v in columns.items()]
    return pyarrow.Table.from_arrays(arrays, names=list(columns))


def _pyarrow_array(pyarrow: Any, spelling: str, values: NDArray[Any]) -> Any:
    if spelling.startswith("dictionary"):
        return pyarrow.array(_plain(values)).dictionary_encode()
    if spelling.startswith("decimal"):
        width, _, arguments = spelling.partition("(")
        precision, scale = (int(part) for part in arguments.rstrip(")").split(","))
        return pyarrow.array(values, from_pandas=True).cast(getattr(pyarrow, width)(precision, scale), safe=False)
    if spelling == "null":
        return pyarrow.array(_plain(values))
    if "int" in spelling:
        spelling = _integer_type(spelling, values, empty(values)).lower()
    names = {"double": "float64", "halffloat": "float16", "float": "float32"}
    dtype = pyarrow.type_for_alias(names.get(spelling, spelling))
    if values.dtype == object:
        return pyarrow.array(_plain(values), type=dtype)
    return pyarrow.array(values, from_pandas=True).cast(dtype, safe=False)


def _numpy_array(template: Template, columns: Columns) -> NDArray[Any]:
    stacked = np.column_stack([values.astype(object) for values in columns.values()])
    spelling = next(iter(template.dtypes.values()))["dtype"]
    dtype = np.dtype(object if spelling.startswith(("str", "bytes")) else spelling)
    if dtype.kind in "iu":
        values = stacked.astype(np.float64)
        dtype = np.dtype(_integer_type(dtype.name, values.ravel(), np.zeros(values.size, dtype=bool)))
        return values.astype(dtype)
    if dtype.kind == "f":
        return stacked.astype(dtype)
    return stacked.astype(dtype) if dtype.kind == "b" else stacked


def _plain(values: NDArray[Any]) -> list[Any]:
    return [None if is_missing(cell) else cell for cell in values.tolist()]


BUILDERS: dict[str, Callable[[Template, Columns], Any]] = {
    "pandas": _pandas_frame,
    "polars": _polars_frame,
    "pyarrow": _pyarrow_table,
    "numpy": _numpy_array,
}
