"""A fitted density, or the law of targets given covariates, as the config and arrays of one safe file, and back.

The config says all sizes, so the name, shape and dtype of every array follow from it; `store` compares them with what
the file holds before it reads a number. A config is ours only if what it describes would be written in the same words.
"""

import os
import re
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ptilde import _json, store
from ptilde._validate import ModelFileError
from ptilde.amounts import AmountDensity
from ptilde.joint import JointDensity
from ptilde.models import NoiseConditionalDensity, TriangularMap
from ptilde.strata import Gaussian, Layout
from ptilde.tabular.bodies import DECIMALS
from ptilde.tabular.covariates import MOST_LEVELS, Basis, Covariates
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.frames import Template
from ptilde.tabular.index import NUM_SEGMENTS
from ptilde.tabular.masses import MOST_CELLS
from ptilde.tabular.schema import Schema
from ptilde.tabular.states import StateDensity

_SPELLING = {"dtype": str, "categories": list, "ordered": bool}
# What each library calls the types that a column with a density may have.
_BITS = "(8|16|32|64|128)"
_ARROW = rf"u?int{_BITS}|halffloat|float|double|bool|null|(large_)?string(_view)?|decimal\d+\(\d+, -?\d+\)|\w+<.+>"
_TYPES = {
    "numpy": rf"(u?int|float){_BITS}|longdouble|bool|str\d+|object",
    "pandas": rf"([Uu]?[Ii]nt|[Ff]loat){_BITS}|longdouble|bool|boolean|str|string(\[\w+\])?|object|category|"
    rf"Sparse\[((u?int|float){_BITS}|bool), .+\]|({_ARROW})\[pyarrow\]",
    "polars": rf"(U?Int|Float){_BITS}|Boolean|String|Categorical(\(.*\))?|Enum|Null|Object|"
    r"Decimal\(precision=\d+, scale=\d+\)",
    "pyarrow": _ARROW,
}
DENSITY, REGRESSOR = "ScoreDensity", "ScoreRegressor"
_FACTS = {"seed": int, "n_iter": int, "fit_seconds": float, "history": dict, "names": list}
_HISTORY = {"step", "loss", "terms", "validation"}
# Of an ensemble: with and without a map, scores, and correlations.
_MOST_SIZES = 8
# No file of ours is near these; a config beyond them was made to waste time.
_MOST = {"width": 65_536, "depth": 8, "num_frequencies": 32, "num_intervals": 512}
_MOST |= {
    "members": 1_000,
    "segments": NUM_SEGMENTS + 1,
    "tokens": 4_000_000,
    "columns": 100_000,
    "knots": 4_096,
    "masses": 2 * MOST_CELLS,
    "decimals": DECIMALS[-1],
}


class Fitted(NamedTuple):
    """All that a fitted model is.

    Attributes:
        schema: the kinds of the columns, or of the targets.
        template: the frame that it was fitted to, or that of the covariates.
        encoder: between tables and rows.
        joint: the law of the rows, or a tuple of the laws that an ensemble holds.
        facts: what a person may want to know: seed, steps, history; plain JSON.
        covariates: between their table and rows; None if there are none.
    """

    schema: Schema
    template: Template
    encoder: Encoder
    joint: Any
    facts: dict[str, Any]
    covariates: Covariates | None = None


def save(fitted: Fitted, path: Any) -> None:
    """Write the file, whole or not at all."""
    knots = {} if fitted.covariates is None else fitted.covariates.arrays()
    store.write(path, _config(fitted), _named(fitted.joint) | fitted.encoder.arrays() | knots)


def load(path: Any) -> Fitted:
    """Read the file, every part of it checked."""
    config, arrays = store.read(path, _expected)
    _check_knots(path, arrays)
    schema = Schema.from_dict(config["schema"])
    encoder = Encoder.from_config(schema, config["encoder"], arrays)
    skeleton = _skeleton(config)
    leaves = [arrays[_name(p)] for p, _ in jax.tree_util.tree_flatten_with_path(skeleton)[0]]
    joint = jax.tree.unflatten(jax.tree.structure(skeleton), leaves)
    covariates = None if config["kind"] == DENSITY else Covariates.from_config(config["covariates"], arrays)
    return Fitted(schema, Template.from_dict(config["template"]), encoder, joint, config["facts"], covariates)


def _config(fitted: Fitted) -> dict[str, Any]:
    layout, beside = Layout.of(fitted.encoder), fitted.covariates
    shared = {
        "kind": DENSITY if beside is None else REGRESSOR,
        "schema": fitted.schema.to_dict(),
        "template": fitted.template.to_dict(),
        "encoder": fitted.encoder.to_config(),
        "layout": {"num_tokens": list(layout.num_tokens), "bodies": [b and list(b) for b in layout.bodies]},
        "facts": fitted.facts,
    }
    if beside is None:
        return shared | _parts(fitted.joint)
    return shared | {"covariates": beside.to_config(), "members": [_parts(joint) for joint in fitted.joint]}


def _parts(joint: JointDensity) -> dict[str, Any]:
    states, amounts = joint.states, joint.amounts
    return {"states": states and {"width": states.first.out_features}, "amounts": amounts and _sizes(amounts)}


def _sizes(amounts: AmountDensity) -> dict[str, Any]:
    density, transport = amounts.network, amounts.transport
    names = "width", "depth", "num_frequencies", "num_intervals"
    network = density and {
        "width": density.network.first.out_features,
        "depth": len(density.network.blocks),
        "num_frequencies": density.num_frequencies,
    }
    return {
        "network": network,
        "rotate": amounts.gaussian.rotate,
        "map": transport and {name: getattr(transport, name) for name in names},
    }


def _expected(config: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], Any]]:
    schema, template = Schema.from_dict(config["schema"]), Template.from_dict(config["template"])
    knots, covariates = {}, None
    if config["kind"] == REGRESSOR:
        knots = _covariate_shapes(config)
        covariates = Covariates.from_config(config["covariates"], _blank(knots))
        _check_table(list(covariates.names), template, {"log(exposure)"})
    else:
        _check_table(list(schema.columns), template)
    _check_facts(config["facts"], template, covariates is not None)
    for i, entry in enumerate(config["encoder"]):
        if entry["chart"] is not None:
            knots[f"knots.{i}"] = ((3, _whole("knots", entry["num_knots"], 2)), np.float64)
            if "decimals" in entry:
                _whole("decimals", entry["decimals"], DECIMALS[0])
            for level, number in enumerate(entry.get("num_masses", ())):
                if _whole("masses", number, 0):
                    knots[f"masses.{i}.{level}"] = ((2, number), np.float64)
    skeleton = _skeleton(config)
    encoder = Encoder.from_config(schema, config["encoder"], _blank(knots))
    fitted = Fitted(schema, template, encoder, skeleton, config["facts"], covariates)
    if _json.dumps(_config(fitted)) != _json.dumps(config):
        raise ValueError("it says the same in other words")
    shapes = jax.tree_util.tree_flatten_with_path(skeleton)[0]
    return {_name(p): (leaf.shape, leaf.dtype) for p, leaf in shapes} | knots


def _check_knots(path: Any, arrays: dict[str, np.ndarray]) -> None:
    """The maps of columns are increasing, with slopes above zero."""
    for name, array in arrays.items():
        if not name.startswith(("knots.", "masses.", "covariate.")):
            continue
        table = np.atleast_2d(array)
        if not ((np.diff(table[:2]) > 0).all() and (table[2:] > 0).all()):
            raise ModelFileError(
                f"model file {os.fspath(path)!r} is damaged: the numbers of array {name!r} do not increase. "
                "Copy it again from where it was saved, or fit and save the model anew."
            )


def _covariate_shapes(config: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], Any]]:
    num_bodies, config = len(config["layout"]["bodies"]), config["covariates"]
    if len(config["numeric"]) + len(config["levels"]) > _MOST["columns"]:
        raise ValueError("too many covariates")
    names = [name for name, _ in [*config["numeric"], *config["levels"]]]
    if len(set(names)) < len(names):
        raise ValueError("two covariates have one name")
    for _, levels in config["levels"]:
        if len(levels) >= MOST_LEVELS or not all(v is None or isinstance(v, str | bool | int | float) for v in levels):
            raise ValueError("the levels of a covariate are others")
    sizes = [_whole("segments", number, 1) for _, number in config["numeric"]]
    if (num_indices := _whole("columns", config["indices"], 0)) not in (0, num_bodies):
        raise ValueError("there is an index for each amount, or none")
    own = Basis(tuple(size - 1 for size in sizes), tuple(len(levels) + 1 for _, levels in config["levels"]))
    sizes += [NUM_SEGMENTS + 1] * num_indices
    effects = {"index": ((num_indices, own.num_features), np.float64)} if num_indices else {}
    return {f"covariate.{j}": ((number,), np.float64) for j, number in enumerate(sizes)} | effects


def _blank(shapes: dict[str, tuple[tuple[int, ...], Any]]) -> dict[str, np.ndarray]:
    """Arrays that have these shapes and take no memory, whatever the config says."""
    return {name: np.broadcast_to(0.0, shape) for name, (shape, _) in shapes.items()}


def _check_table(modelled: list[str], template: Template, beside: frozenset[str] | set[str] = frozenset()) -> None:
    if not set(modelled) <= set(template.names) | beside:
        raise ValueError("the model has columns that the table had not")
    built = set(modelled)  # a column that was left out may have had any type
    for name, spelling in template.dtypes.items():
        wanted = {"category": ("dtype", "categories", "ordered"), "Enum": ("dtype", "categories")}
        keys = wanted.get(spelling.get("dtype", ""), ("dtype",))
        spelt = {key: type(value) for key, value in spelling.items()} == {key: _SPELLING[key] for key in keys}
        if not spelt or name in built and not re.fullmatch(_TYPES[template.backend], spelling["dtype"]):
            raise ValueError(f"column {name!r} of the table has type {spelling!r}")


def _check_facts(facts: dict[str, Any], template: Template, given: bool) -> None:
    if {key: type(value) for key, value in facts.items()} != _FACTS | ({"single": bool} if given else {}):
        raise ValueError("the facts are others")
    if facts["names"] not in ([], list(template.names)):
        raise ValueError("the names are not those of the table")
    for stage in facts["history"].values():
        numbers = [*stage["loss"], *stage["validation"], *(term for terms in stage["terms"] for term in terms)]
        whole = all(type(n) is int for n in stage["step"]) and all(type(n) is float for n in numbers)
        if not whole or set(stage) != _HISTORY or len({len(values) for values in stage.values()}) != 1:
            raise ValueError("the history is another")


def _skeleton(config: dict[str, Any]) -> Any:
    """The laws with shapes in place of arrays."""
    tokens = tuple(_whole("tokens", n, 2) for n in config["layout"]["num_tokens"])
    bodies = tuple(b and (int(b[0]), int(b[1])) for b in config["layout"]["bodies"])
    if len(tokens) + len(bodies) > _MOST["columns"] or sum(tokens) > _MOST["tokens"]:
        raise ValueError("too many columns or tokens")
    if config["kind"] == DENSITY:
        return _joint(Layout(tokens, bodies), config)
    if config["kind"] != REGRESSOR or not 0 < len(config["members"]) <= _MOST["members"]:
        raise ValueError(f"kind {config['kind']!r:.40} or its members")
    basis = Covariates.from_config(config["covariates"], _blank(_covariate_shapes(config))).basis
    sizes = [_json.dumps(member) for member in config["members"]]
    if len(set(sizes)) > _MOST_SIZES:
        raise ValueError("the members of an ensemble have too many sizes")
    made = {text: _joint(Layout(tokens, bodies, basis), _json.loads(text)) for text in dict.fromkeys(sizes)}
    return tuple(made[text] for text in sizes)


def _joint(layout: Layout, config: dict[str, Any]) -> Any:
    """One law with shapes in place of arrays."""
    tokens = layout.num_tokens
    if (config["states"] is None) != (not tokens) or (config["amounts"] is None) != (not layout.bodies):
        raise ValueError("the parts and the layout disagree")

    def make() -> JointDensity:
        states, amounts = None, None
        if config["states"] is not None:
            width = _whole("width", config["states"]["width"], 1)
            states = StateDensity(tokens, width, jnp.zeros(sum(tokens)), layout.basis, key=jr.key(0))
        if config["amounts"] is not None:
            amounts = _amounts(layout, config["amounts"])
        return JointDensity(states, amounts)

    return eqx.filter_eval_shape(make)


def _amounts(layout: Layout, config: dict[str, Any]) -> AmountDensity:
    d, m, key, transport, network = len(layout.bodies), layout.num_context, jr.key(0), None, None
    lows = {"width": 1, "depth": 0, "num_frequencies": 0}
    if config["map"] is not None:
        sizes = {name: _whole(name, config["map"][name], low) for name, low in (lows | {"num_intervals": 2}).items()}
        transport = TriangularMap(d, m, **sizes, additive=layout.basis.num_features > 0, key=key)
    gaussian = Gaussian(jnp.zeros((d, 1 + m)), jnp.zeros((d, d)), bool(config["rotate"]))  # type: ignore[arg-type]
    if config["network"] is not None:
        sizes = {name: _whole(name, config["network"][name], low) for name, low in lows.items()}
        network = NoiseConditionalDensity(d, m, **sizes, key=key)
    return AmountDensity(layout, transport, gaussian, network, jnp.zeros(2), jnp.zeros(()))


def _whole(name: str, value: Any, low: int) -> int:
    if type(value) is not int or not low <= value <= _MOST[name]:
        raise ValueError(f"{name} {value!r}")
    return value


def _name(path: Any) -> str:
    return "joint" + jax.tree_util.keystr(path)


def _named(joint: Any) -> dict[str, np.ndarray]:
    return {_name(p): np.asarray(leaf) for p, leaf in jax.tree_util.tree_flatten_with_path(joint)[0]}
