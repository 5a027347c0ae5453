"""The programs whose cost counts, each with the matrix products in it.

`step, ...` is a chunk of a descent, as `ptilde.fit` compiles it; `score` and `draw` are rows in blocks, as
`ptilde.amounts` and `ptilde.joint` evaluate them. Networks are as before they are fitted: they cost the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.cost.products import Products, operations, products, repeated
from ptilde import amounts, joint, train
from ptilde.amounts import BLOCK, AmountDensity, row_keys
from ptilde.batches import Data, batch
from ptilde.fit import Denoise, Descent, Likelihood, Unmask
from ptilde.fit import descent as fit
from ptilde.joint import JointDensity
from ptilde.losses import Dual
from ptilde.models import NoiseConditionalDensity, TriangularMap
from ptilde.plan import Plan
from ptilde.strata import Layout
from ptilde.tabular.encoder import Encoder
from ptilde.tabular.frames import open_table
from ptilde.tabular.schema import Schema
from ptilde.tabular.states import StateDensity
from ptilde.train import Encoded, held_out_rows

KEY = jr.key(0)
GRADIENT = 3  # evaluations that a gradient counts as


@dataclass(frozen=True)
class Program:
    """Something that is run, and what is in it.

    Attributes:
        run: what a person waits for.
        compiled: the same without what the host does before, between and after.
        found: the matrix products.
        units: rows or steps of a run.
        passes: forward passes a unit (a step: of its batch) that have as many operations as the products.
        evaluations: network evaluations a unit; gradients count as three where they are known to be gradients in x.
    """

    run: Callable[[], Any]
    compiled: Callable[[], Any]
    found: Products
    units: int
    passes: float
    evaluations: float


@dataclass(frozen=True)
class Descending:
    """One of the descents of a fit: what is fitted to what, and how."""

    objective: Any
    model: Any
    data: Data
    descent: Descent

    @cached_property
    def parts(self) -> tuple[Any, Any]:
        return eqx.partition(self.model, eqx.is_inexact_array)

    @cached_property
    def walk(self) -> fit._Walk:
        params = self.parts[0]
        return fit._Walk(params, params, self.descent.transformation().init(params))

    def chunk(self, walk: fit._Walk, length: int) -> Any:
        return fit._chunk(self.objective, self.parts[1], walk, self.descent, self.data, KEY, jnp.asarray(0), length)

    @cached_property
    def found(self) -> Products:
        """The products of a step."""
        return products(partial(self.chunk, length=1), self.walk, num_rows=self.descent.batch_size)

    def steps(self, length: int) -> Program:
        rows, _ = batch(self.objective, self.data, self.descent.batch_size, KEY)
        once = products(partial(_forward, self.objective, self.model), rows, num_rows=self.descent.batch_size)
        passes = operations(self.found) / operations(once)
        run = partial(self.chunk, self.walk, length)
        return Program(run, run, repeated(self.found, length), length, passes, passes)


def _forward(objective: Any, model: Any, rows: Any) -> Any:
    """The model of a descent at the rows of a batch: one forward pass."""
    match objective:
        case Denoise():
            pattern, z, tokens, given, _ = rows
            stratum = objective.base.stratum
            return jax.vmap(lambda z, t, g, p: model(z, jnp.zeros(()), stratum(t, g, p)))(z, tokens, given, pattern)
        case Likelihood():
            return model(rows[1], *objective.layout.features(rows[2], rows[3]))
        case _:
            return jax.vmap(partial(_states_once, model))(rows[0])


@dataclass(frozen=True)
class Workload:
    """A table's rows, and a law of them that is not fitted.

    Attributes:
        encoded: the rows.
        layout: how states and amounts hang together.
        plan: sizes and descents.
        states: the law of the states.
        amounts: that of the amounts, a map before the scores.
    """

    encoded: Encoded
    layout: Layout
    plan: Plan
    states: StateDensity
    amounts: AmountDensity

    @classmethod
    def of(cls, table: pa.Table, **sizes: Any) -> Workload:
        """The workload of a table with the sizes that a fit would choose, or with those given."""
        opened, rng = open_table(table), np.random.default_rng(0)
        weight = np.ones(opened.num_rows)
        schema = Schema.infer(opened, None)
        columns = schema.check(opened)
        encoder = Encoder.fit(schema, columns, weight, rng)
        rows, layout = encoder.encode(columns, rng), Layout.of(encoder)
        held_out, given = held_out_rows(len(weight), rng), np.zeros((len(weight), 0), np.float32)
        encoded = Encoded(rows.state, rows.z, weight, held_out, given)
        plan, dim = Plan.of(len(weight), len(layout.bodies), "auto")._replace(**sizes), len(layout.bodies)
        law = train._with(
            train._gaussian(layout, encoded, train.NOISE_MAPPED),
            transport=TriangularMap(dim, layout.num_context, plan.map_width, key=KEY),
            network=NoiseConditionalDensity(dim, layout.num_context, plan.width, plan.depth, key=KEY),
        )
        return cls(encoded, layout, plan, train._independent(layout, encoded, plan, KEY), law)

    def descents(self) -> dict[str, Descending]:
        law = self.amounts
        base = law.gaussian.base(self.layout, self.encoded.state)[0]
        data, _ = train._amounts(self.layout, self.encoded)
        dual = Denoise(Dual(train.LEVEL_WEIGHT), base, law.log_sigma)
        tokens, _ = train._states(self.layout, self.encoded)
        return {
            "scores": Descending(dual, law.network, data, self.plan.scores),
            "map": Descending(Likelihood(self.layout), law.transport, data, self.plan.smooth),
            "states": Descending(Unmask(), self.states, tokens, self.plan.states),
        }

    def evaluations(self, num_scored: int, num_drawn: int) -> dict[str, Program]:
        """So many blocks of rows scored and drawn."""
        some = np.arange(max(num_scored, num_drawn) * BLOCK) % len(self.encoded.z)
        state, z, keys = self.encoded.state[some], self.encoded.z[some].astype(np.float32), row_keys(KEY, len(some))
        given = self.encoded.given[some]
        base, pattern = self.amounts.gaussian.base(self.layout, state)
        both, own = JointDensity(self.states, self.amounts), self.amounts
        law = amounts.Law(own.transport, own.network, base, own.log_sigma, own.log_mass)
        block = (pattern[:BLOCK], state[:BLOCK], given[:BLOCK])
        amount_once = products(partial(_amounts_once, law), *block, z[:BLOCK], num_rows=BLOCK)
        state_once = products(jax.vmap(partial(_states_once, self.states)), state[:BLOCK], num_rows=BLOCK)
        a, b = slice(num_scored * BLOCK), slice(num_drawn * BLOCK)
        return {
            "score, amounts": _blocks(
                partial(own.log_prob, state[a], z[a]),
                partial(amounts._one_pass, law),
                (pattern[a], state[a], given[a], z[a]),
                amount_once,
            ),
            "score, states": _blocks(
                partial(both.log_states, state[a]),
                partial(joint._log_states, self.states),
                (state[a], given[a]),
                state_once,
            ),
            "draw, amounts": _blocks(
                partial(own.sample, state[b], KEY),
                partial(amounts._draw, None, law),
                (pattern[b], state[b], given[b], keys[b]),
                amount_once,
                _drawing(law, *block, z[:BLOCK], keys[:BLOCK]),
            ),
            "draw, states": _blocks(
                partial(both.draw_states, b.stop, KEY),
                partial(joint._draw_states, self.states),
                (given[b], keys[b]),
                state_once,
            ),
        }


def _blocks(
    run: Callable, function: Callable, arrays: tuple[Any, ...], once: Products, evaluations: float | None = None
) -> Program:
    n = len(arrays[0])
    blocks = [[jnp.asarray(a[start : start + BLOCK]) for a in arrays] for start in range(0, n, BLOCK)]
    found = products(function, *blocks[0], num_rows=BLOCK)
    passes = operations(found) / operations(once)
    compiled = lambda: [function(*block) for block in blocks]  # noqa: E731
    return Program(run, compiled, repeated(found, len(blocks)), n, passes, evaluations or passes)


def _drawing(law: amounts.Law, pattern: NDArray, tokens: NDArray, given: NDArray, z: NDArray, keys: Any) -> float:
    """Evaluations that a draw takes: of the network, found to be gradients by their operations, and of the map."""
    alone = amounts.Law(None, law.network, law.base, law.levels, law.log_mass)
    flow = products(partial(amounts._draw, None, alone), pattern, tokens, given, keys, num_rows=BLOCK)
    gradient = products(jax.vmap(partial(_gradient_once, law)), pattern, tokens, given, z, num_rows=BLOCK)
    forward, inverse = (products(way, tokens, given, z, num_rows=BLOCK) for way in (law.forward, law.inverse))
    return GRADIENT * operations(flow) / operations(gradient) + operations(inverse) / operations(forward)


def _amounts_once(law: amounts.Law, pattern: Any, tokens: Any, given: Any, z: Any) -> Any:
    """The map and the network, each at every row."""
    at = lambda pattern, tokens, given, u: law.at(pattern, tokens, given)[0](u, law.levels[0])  # noqa: E731
    return jax.vmap(at)(pattern, tokens, given, z), law.forward(tokens, given, z)


def _gradient_once(law: amounts.Law, pattern: Any, tokens: Any, given: Any, z: Any) -> Any:
    return jax.grad(law.at(pattern, tokens, given)[0])(z, law.levels[0])


def _states_once(states: StateDensity, tokens: Any) -> Any:
    return states(tokens, tokens > 0)
