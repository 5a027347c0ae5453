"""Tables whose empty cells are drawn given the others, and tables of a reweighted law."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import NDArray

from ptilde._validate import DataError
from ptilde.conditional.chain import Cells, Drawn, LogWeight, redraw, reweighted
from ptilde.conditional.proposal import Proposal
from ptilde.joint import JointDensity
from ptilde.strata import Layout
from ptilde.tabular.encoder import Encoder, refuse_outside
from ptilde.tabular.kinds import empty

Columns = Mapping[str, NDArray[Any]]
_STILL = 0.05  # a row that moved in fewer of its steps may not have forgotten where it began


@dataclass(frozen=True, eq=False)
class Completion:
    """What completes rows of a table.

    Args:
        encoder: of the table.
        joint: the law of its rows.
        proposal: for the cells of its columns.
    """

    encoder: Encoder
    joint: JointDensity
    proposal: Proposal

    @classmethod
    def of(cls, encoder: Encoder, joint: JointDensity, key: PRNGKeyArray) -> "Completion":
        """For a fitted density."""
        return cls(encoder, joint, Proposal.of(joint, Layout.of(encoder), key))

    def fill(
        self,
        table: Columns,
        key: PRNGKeyArray,
        *,
        present: bool = False,
        log_weight: Callable[[Columns], Any] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """The table with its empty cells drawn; the others as they are.

        Args:
            table: the columns as `Schema.check(..., holes=True)` returned them.
            key: of the draws.
            present: whether what is drawn must be there, in columns that may be missing, too.
            log_weight: of columns, the log of w.
        """
        free = np.stack([empty(table[column.name]) for column in self.encoder.columns], axis=1)
        for j, column in enumerate(self.encoder.columns):
            refuse_outside(column, table[column.name], ~free[:, j])
        rows = self.encoder.encode(table)
        proposal = eqx.tree_at(lambda p: p.allowed, self.proposal, self._present()) if present else self.proposal
        some = np.flatnonzero(free.any(1))
        if not some.size:
            return dict(table)
        drawn = redraw(
            self.joint,
            proposal,
            self._cells,
            free[some],
            rows.state[some],
            rows.z[some],
            key,
            log_weight=self._weight(log_weight),
        )
        nowhere = ~np.isfinite(drawn.log_p)
        if nowhere.any():
            raise DataError(
                f"Row {some[nowhere.argmax()]} must have a completion with positive probability"
                f"{' and weight' if log_weight else ''}; found none ({nowhere.sum()} such rows). "
                "Fix fewer of its cells, or correct them."
            )
        _tell_still(drawn)
        filled = {name: values.copy() for name, values in table.items()}
        for j, (name, values) in enumerate(self.encoder.decode(drawn.state, drawn.z).items()):
            holes = free[some, j]
            filled[name][some[holes]] = values[holes]
        return filled

    def draw(self, n: int, key: PRNGKeyArray, log_weight: Callable[[Columns], Any]) -> dict[str, NDArray[Any]]:
        """The columns of n rows of the reweighted law."""
        weight = self._weight(log_weight)
        assert weight is not None
        drawn = reweighted(self.joint, self.proposal, self._cells, n, weight, key)
        if len(drawn.state) < n:
            raise ValueError(
                "`log_weight` must let through some of the model's own draws; got none. Begin with a weaker condition."
            )
        _tell_still(drawn)
        return self.encoder.decode(drawn.state, drawn.z)

    @property
    def _cells(self) -> Cells:
        token = {column.name: k for k, column in enumerate(self.encoder.choosing)}
        amount = {column.name: j for j, column in enumerate(self.encoder.amounts)}
        names = [column.name for column in self.encoder.columns]
        return Cells(*(np.array([place.get(name, -1) for name in names]) for place in (token, amount)))

    def _present(self) -> Any:
        """Which tokens do not say "missing"."""
        allowed = [np.ones(column.num_tokens, bool) for column in self.encoder.choosing]
        for mask, column in zip(allowed, self.encoder.choosing, strict=True):
            mask[len(column.points) : column.body_token] = False
        return jnp.asarray(np.concatenate([*allowed, np.zeros(0, bool)]))

    def _weight(self, log_weight: Callable[[Columns], Any] | None) -> LogWeight | None:
        """The weight of rows as the model sees them."""
        if log_weight is None:
            return None

        def of_rows(state: NDArray[np.int32], z: NDArray[np.float64]) -> NDArray[np.float64]:
            value = np.asarray(log_weight(self.encoder.decode(state, z)))
            if value.shape != (len(state),) or value.dtype.kind not in "bif":
                raise ValueError(
                    f"`log_weight` must return one number, or true or false, for each of {len(state)} rows; got shape "
                    f"{value.shape} of {value.dtype}."
                )
            value = np.where(value, 0.0, -np.inf) if value.dtype.kind == "b" else value.astype(np.float64)
            wrong = np.isnan(value) | (value == np.inf)
            if wrong.any():
                raise ValueError(f"`log_weight` must be a number below infinity, or -inf; got {value[wrong][0]}.")
            return value

        return of_rows


def _tell_still(drawn: Drawn) -> None:
    still = int((drawn.moved < _STILL).sum())
    if still:
        warnings.warn(
            f"{still:,} of {len(drawn.moved):,} rows moved in fewer than {_STILL:.0%} of their steps: what was drawn "
            "for them may still depend on where it began.",
            stacklevel=4,
        )
