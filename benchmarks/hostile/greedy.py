"""Model files of less than a mebibyte whose configs ask for as much time and memory as the limits let them."""

import copy
import json
from collections.abc import Callable
from typing import Any

from benchmarks.hostile.models import apart, kept, sealed

Config = dict[str, Any]


def greedy() -> dict[str, bytes]:
    """By what they are greedy for."""
    density, regressor = (path.read_bytes() for path in kept()[:2])
    asked = {name: _asking(density, ask) for name, ask in OF_DENSITIES.items()}
    return asked | {name: _asking(regressor, ask) for name, ask in OF_REGRESSORS.items()}


def _asking(good: bytes, ask: Callable[[Config], None]) -> bytes:
    document, data = apart(good)
    ours = json.loads(document["__metadata__"]["ptilde"])
    ask(ours["config"])
    document = {"__metadata__": {"ptilde": json.dumps(ours, separators=(",", ":"))}}
    return sealed(document, b"")


def _columns(config: Config, number: int, kind: Config, entry: Config) -> None:
    """So many columns of one kind and one entry of the encoder."""
    names = [f"c{i}" for i in range(number)]
    config["schema"] = {"columns": dict.fromkeys(names, kind), "left_out": {}}
    config["template"] |= {"names": names, "dtypes": dict.fromkeys(names, {"dtype": "object"})}
    config["encoder"] = [entry] * number
    config["facts"]["names"] = []


def _bodies(config: Config, number: int, num_knots: int) -> None:
    chart = ["HalfLine", {"origin": 0.0}]
    _columns(config, number, {"kind": "Positive"}, {"points": None, "chart": chart, "num_knots": num_knots})
    config["layout"] = {"num_tokens": [], "bodies": [None] * number}
    config["states"] = None


def _atoms(config: Config) -> None:
    config["schema"]["columns"]["claim"] |= {"atoms": [float(k) for k in range(90_000)]}


def _categories(config: Config) -> None:
    config["schema"]["columns"]["where"] |= {"categories": [str(k) for k in range(90_000)]}


def _counts(config: Config) -> None:
    config["encoder"][1]["points"] = [float(k) for k in range(90_000)]


def _steps(config: Config) -> None:
    config["schema"]["columns"]["real"]["grid"] = [2.0 ** (900 - k) for k in range(1_800)]


def _history(config: Config) -> None:
    many = [0.5] * 50_000
    told = {"step": [1] * 50_000, "loss": many, "terms": [[0.5]] * 50_000, "validation": many}
    config["facts"]["history"] = {"states": told}


def _deep(config: Config) -> None:
    for part in ("map", "network"):
        config["amounts"][part] |= {"width": 65_536, "depth": 8, "num_frequencies": 32}


def _tokens(config: Config) -> None:
    config["layout"]["num_tokens"] = [2_000_000, 1_999_999]


def _layout(config: Config) -> None:
    config["layout"]["bodies"] = [None] * 99_000


def _members(config: Config, number: int, kinds: int) -> None:
    config["members"] = [copy.deepcopy(config["members"][1]) for _ in range(number)]
    for k, member in enumerate(config["members"]):
        member["states"]["width"] = 1 + k % kinds


def _covariates(config: Config) -> None:
    config["covariates"]["numeric"] = [[f"n{k}", 11] for k in range(55_000)]


def _levels(config: Config) -> None:
    config["covariates"]["levels"] = [[f"n{k}", [f"{i}" for i in range(200)]] for k in range(500)]


OF_DENSITIES: dict[str, Callable[[Config], None]] = {
    "atoms": _atoms,
    "categories": _categories,
    "points of a count": _counts,
    "steps of a grid": _steps,
    "rows of a history": _history,
    "layers": _deep,
    "tokens": _tokens,
    "bodies of a layout": _layout,
    "columns with few knots": lambda config: _bodies(config, 5_500, 2),
    "columns with many knots": lambda config: _bodies(config, 5_500, 4_096),
}
OF_REGRESSORS: dict[str, Callable[[Config], None]] = {
    "members": lambda config: _members(config, 1_000, 1_000),
    "members of eight sizes": lambda config: _members(config, 1_000, 8),
    "covariates": _covariates,
    "levels of covariates": _levels,
}
