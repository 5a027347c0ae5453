"""A fitted density as the config and arrays of one safe file, and back.

The config says all sizes, so the name, shape and dtype of every array follow from it; `store` compares them with what
the file holds before it reads a number. A config is ours only if what it describes would be written in the same words.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ptilde import _json, store
from ptilde.joint import JointDensity
from ptilde.models import NoiseConditionalDensity
from ptilde.strata import Gaussian, Layout
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.frames import Template
from ptilde.tabular.schema import Schema
from ptilde.tabular.states import StateDensity

_SPELLING = {"dtype": str, "categories": list, "ordered": bool}
_FACTS = {"seed": int, "n_iter": int, "fit_seconds": float, "history": dict, "names": list}
_HISTORY = {"step", "loss", "terms", "validation"}
# No file of ours is near these; a config beyond them was made to waste time.
_MOST = {"width": 65_536, "depth": 64, "num_frequencies": 32, "tokens": 4_000_000, "columns": 100_000, "knots": 4_096}


class Fitted(NamedTuple):
    """All that a fitted density is.

    Attributes:
        schema: the kinds of the columns.
        template: the frame that it was fitted to.
        encoder: between tables and rows.
        joint: the law of the rows.
        facts: what a person may want to know: seed, steps, history; plain JSON.
    """

    schema: Schema
    template: Template
    encoder: Encoder
    joint: JointDensity
    facts: dict[str, Any]


def save(fitted: Fitted, path: Any) -> None:
    """Write the file, whole or not at all."""
    store.write(path, _config(fitted), _named(fitted.joint) | fitted.encoder.arrays())


def load(path: Any) -> Fitted:
    """Read the file, every part of it checked."""
    config, arrays = store.read(path, _expected)
    schema = Schema.from_dict(config["schema"])
    encoder = Encoder.from_config(schema, config["encoder"], arrays)
    skeleton = _skeleton(config)
    leaves = [arrays[_name(p)] for p, _ in jax.tree_util.tree_flatten_with_path(skeleton)[0]]
    joint = jax.tree.unflatten(jax.tree.structure(skeleton), leaves)
    return Fitted(schema, Template.from_dict(config["template"]), encoder, joint, config["facts"])


def _config(fitted: Fitted) -> dict[str, Any]:
    layout, states, amounts, gaussian = (getattr(fitted.joint, n) for n in ("layout", "states", "amounts", "gaussian"))
    return {
        "kind": "ScoreDensity",
        "schema": fitted.schema.to_dict(),
        "template": fitted.template.to_dict(),
        "encoder": fitted.encoder.to_config(),
        "layout": {"num_tokens": list(layout.num_tokens), "bodies": [b and list(b) for b in layout.bodies]},
        "states": states and {"width": states.first.out_features},
        "amounts": amounts
        and {
            "width": amounts.network.first.out_features,
            "depth": len(amounts.network.blocks),
            "num_frequencies": amounts.num_frequencies,
        },
        "rotate": gaussian is not None and gaussian.rotate,
        "facts": fitted.facts,
    }


def _expected(config: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], Any]]:
    schema, template = Schema.from_dict(config["schema"]), Template.from_dict(config["template"])
    _check_table(schema, template)
    _check_facts(config["facts"], template)
    knots = {}
    for i, entry in enumerate(config["encoder"]):
        if entry["chart"] is not None:
            knots[f"knots.{i}"] = ((3, _whole("knots", entry["num_knots"], 2)), np.float64)
    skeleton = _skeleton(config)
    blank = {name: np.zeros(shape) for name, (shape, _) in knots.items()}
    encoder = Encoder.from_config(schema, config["encoder"], blank)
    if skeleton.layout != Layout.of(encoder):
        raise ValueError("the layout and the schema disagree")
    if _json.dumps(_config(Fitted(schema, template, encoder, skeleton, config["facts"]))) != _json.dumps(config):
        raise ValueError("it says the same in other words")
    shapes = jax.tree_util.tree_flatten_with_path(skeleton)[0]
    return {_name(p): (leaf.shape, leaf.dtype) for p, leaf in shapes} | knots


def _check_table(schema: Schema, template: Template) -> None:
    if not set(schema.columns) <= set(template.names):
        raise ValueError("the schema has columns that the table had not")
    for name, spelling in template.dtypes.items():
        wanted = {"category": ("dtype", "categories", "ordered"), "Enum": ("dtype", "categories")}
        keys = wanted.get(spelling.get("dtype", ""), ("dtype",))
        if {key: type(value) for key, value in spelling.items()} != {key: _SPELLING[key] for key in keys}:
            raise ValueError(f"column {name!r} of the table has type {spelling!r}")


def _check_facts(facts: dict[str, Any], template: Template) -> None:
    if {key: type(value) for key, value in facts.items()} != _FACTS:
        raise ValueError("the facts are others")
    if facts["names"] not in ([], list(template.names)):
        raise ValueError("the names are not those of the table")
    for stage in facts["history"].values():
        numbers = [*stage["loss"], *stage["validation"], *(term for terms in stage["terms"] for term in terms)]
        whole = all(type(n) is int for n in stage["step"]) and all(type(n) is float for n in numbers)
        if not whole or set(stage) != _HISTORY or len({len(values) for values in stage.values()}) != 1:
            raise ValueError("the history is another")


def _skeleton(config: dict[str, Any]) -> Any:
    """The joint density with shapes in place of arrays."""
    tokens = tuple(_whole("tokens", n, 2) for n in config["layout"]["num_tokens"])
    bodies = tuple(b and (int(b[0]), int(b[1])) for b in config["layout"]["bodies"])
    if len(tokens) + len(bodies) > _MOST["columns"] or sum(tokens) > _MOST["tokens"]:
        raise ValueError("too many columns or tokens")
    layout, d, m = Layout(tokens, bodies), len(bodies), sum(tokens)
    if (config["states"] is None) != (not tokens) or (config["amounts"] is None) != (not bodies):
        raise ValueError("the parts and the layout disagree")

    def make() -> JointDensity:
        key, states, amounts, gaussian = jr.key(0), None, None, None
        if config["states"] is not None:
            states = StateDensity(tokens, _whole("width", config["states"]["width"], 1), jnp.zeros(m), key=key)
        if config["amounts"] is not None:
            sizes = (_whole(name, config["amounts"][name], 0) for name in ("width", "depth", "num_frequencies"))
            amounts = NoiseConditionalDensity(d, m, *sizes, key=key)
            gaussian = Gaussian(jnp.zeros((d, 1 + m)), jnp.zeros((d, d)), bool(config["rotate"]))  # type: ignore[arg-type]
        return JointDensity(layout, states, amounts, gaussian, jnp.zeros(2))

    return eqx.filter_eval_shape(make)


def _whole(name: str, value: Any, low: int) -> int:
    if type(value) is not int or not low <= value <= _MOST[name]:
        raise ValueError(f"{name} {value!r}")
    return value


def _name(path: Any) -> str:
    return "joint" + jax.tree_util.keystr(path)


def _named(joint: JointDensity) -> dict[str, np.ndarray]:
    return {_name(p): np.asarray(leaf) for p, leaf in jax.tree_util.tree_flatten_with_path(joint)[0]}
