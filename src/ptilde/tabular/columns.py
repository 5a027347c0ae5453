"""One column ⇄ tokens and amounts.

A column's tokens are its points (atoms, categories, frequent counts), then "missing", then "body": one for each level
of the body's grid (`ptilde.tabular.levels`), so that the law of the states says how often, and beside what, each step
is used.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptilde.tabular.bodies import BodyMap
from ptilde.tabular.kinds import Categorical, Kind, SemiContinuous, is_missing, on_atom

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Column:
    """One column and its tokens: its points (atoms or categories), "missing" if it may be, the levels of its body."""

    name: str
    kind: Kind
    points: tuple[Any, ...]
    body: BodyMap | None

    @property
    def num_tokens(self) -> int:
        """How many states the column has."""
        return self.body_token + (len(self.body.levels) if self.body is not None else 0)

    @property
    def body_token(self) -> int:
        """The first of the tokens that say "in the body", which are the last ones."""
        return len(self.points) + self.kind.missing

    @property
    def labels(self) -> tuple[str, ...]:
        """What each token means, in words."""
        return tuple(
            [f"{p:.10g}" if isinstance(p, float) else str(p) for p in self.points]
            + ["missing"] * self.kind.missing
            + (_labels(self.body) if self.body is not None else [])
        )

    def tokens(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """The token of each value; -1 outside the support."""
        token = np.full(len(values), -1, np.int32)
        if values.dtype == object:
            lookup = {point: i for i, point in enumerate(self.points)}
            empty = len(self.points) if self.kind.missing else -1
            return np.array([empty if is_missing(v) else lookup.get(v, -1) for v in values.tolist()], np.int32)
        if self.body is not None:
            inside = self.in_body(values)
            token[inside] = self.body_token + self.body.level(values[inside])
        for match in (on_atom, np.equal):  # the equal one wins among categories that differ by float noise
            for i, point in enumerate(self.points):
                if match is np.equal or isinstance(point, float):  # whole numbers may be codes, such as 10000001
                    token[match(values, point)] = i
        if self.kind.missing:
            token[np.isnan(values)] = len(self.points)
        return token

    def values(self, token: NDArray[np.int32], z: Array | None) -> NDArray[Any]:
        """The values of tokens (n,) and, for a column with a body, amounts (n,)."""
        textual = isinstance(self.kind, Categorical) and isinstance(self.kind.categories[0], str | bool)
        table = np.empty(self.num_tokens, object if textual else np.float64)
        table[: len(self.points)] = self.points
        table[len(self.points) :] = None if textual else np.nan
        values = table[token]
        if self.body is not None and z is not None:
            inside = token >= self.body_token
            values[inside] = self.body.decode(z[inside], token[inside] - self.body_token)
        return values

    def in_body(self, values: Array) -> NDArray[np.bool_]:
        """Which numbers the kind's body holds, whether or not they are atoms."""
        body = self.kind.body if isinstance(self.kind, SemiContinuous) else self.kind
        return body.holds(values) & np.isfinite(values)


def _labels(body: BodyMap) -> list[str]:
    finer = ["body, not rounded" if c is None else f"body in steps of {c.step:.10g}" for c in body.levels[1:]]
    return ["body", *finer]
