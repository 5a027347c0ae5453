"""Draws of several chains, with what says how far to trust them."""

import html
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from ptilde.samplers.convergence import bulk_ess, mean_error, rank_normalized_rhat, tail_ess

RHAT, ESS = 1.01, 400.0  # Vehtari et al. (2021), Section 4
CURL = 0.01  # moments move by about this share, less than 400 draws can tell; float32 leaves about 1e-6


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws after warm-up.

    Attributes:
        x: the draws.
        log_q: of each; NaN of a bare score.
        acceptance: the mean probability of acceptance behind each draw; 1 of samplers that accept all.
        diverged: whether a step behind it went astray.
        step_size: what warm-up found.
        scale: the preconditioner's root, (d,) or (d, d); None for the identity.
        names: of the columns.
        exact: whether the chains' law is the target itself, once converged.
        curl: of a bare score, the share of its Jacobian that is antisymmetric, from 0 (a gradient) to 1; None if it was
            not measured, as of a density.
        endless: whether chains move away without end, as where q has no integral.
    """

    x: Float[np.ndarray, "chain draw d"]
    log_q: Float[np.ndarray, "chain draw"]
    acceptance: Float[np.ndarray, "chain draw"]
    diverged: Bool[np.ndarray, "chain draw"]
    step_size: float
    scale: Any
    names: tuple[str, ...]
    exact: bool
    curl: float | None = None
    endless: bool = False

    @cached_property
    def rhat(self) -> Float[np.ndarray, " d"]:
        """Rank-normalised split R-hat of each column: 1 at convergence."""
        return np.array([rank_normalized_rhat(column) for column in self._columns])

    @cached_property
    def ess(self) -> Float[np.ndarray, " d"]:
        """Bulk effective sample size of each column."""
        return np.array([bulk_ess(column) for column in self._columns])

    @cached_property
    def ess_tail(self) -> Float[np.ndarray, " d"]:
        """Tail effective sample size of each column."""
        return np.array([tail_ess(column) for column in self._columns])

    @property
    def _columns(self) -> Float[np.ndarray, "d chain draw"]:
        return np.moveaxis(self.x, -1, 0)

    def doubts(self) -> list[str]:
        """Why not to trust these draws, in words; empty if there is no reason seen."""
        if self.endless:
            return ["log q does not fall, or too slowly to have an integral: chains move away without end"]
        found = []
        if self.curl is not None and self.curl > CURL:
            found.append(
                f"the score is no gradient, so no density has it: {self.curl:.2g} of its Jacobian is antisymmetric; "
                "what is drawn depends on how chains move"
            )
        worst = np.nanargmax(self.rhat) if np.isfinite(self.rhat).any() else 0
        if not self.rhat[worst] <= RHAT:
            found.append(f"R-hat is {self.rhat[worst]:.3g} in {self.names[worst]!r}, above {RHAT}: chains disagree")
        least = int(np.nanargmin(self.ess)) if np.isfinite(self.ess).any() else 0
        if not self.ess[least] >= ESS:
            found.append(
                f"the draws of {self.names[least]!r} are worth {self.ess[least]:.3g} independent ones, below 400"
            )
        if self.diverged.any():
            found.append(
                f"{int(self.diverged.sum())} steps went astray: the target is steeper there than the step size"
            )
        return found

    def table(self) -> dict[str, Any]:
        """The summary's columns by name."""
        low, high = np.quantile(self.x, [0.05, 0.95], axis=(0, 1))
        return {
            "name": list(self.names),
            "mean": self.x.mean((0, 1)),
            "std": self.x.std((0, 1), ddof=1),
            "mc error": np.array([mean_error(column) for column in self._columns]),
            "5 %": low,
            "95 %": high,
            "R-hat": self.rhat,
            "ess bulk": self.ess,
            "ess tail": self.ess_tail,
        }

    def summary(self) -> str:
        """A table to print: means, spreads, quantiles, convergence."""
        table = self.table()
        cells = [["", *table.pop("name")]]
        cells += [[head, *(f"{value:.4g}" for value in values)] for head, values in table.items()]
        widths = [max(map(len, column)) for column in cells]
        rows = ["  ".join(c[i].rjust(w) for c, w in zip(cells, widths, strict=True)) for i in range(len(cells[0]))]
        num_chains, num_draws, _ = self.x.shape
        head = [
            f"{num_chains} chains of {num_draws:,} draws; acceptance {self.acceptance.mean():.3f}, "
            f"step size {self.step_size:.3g}" + ("" if self.exact else "; approximate: no exact accept/reject"),
        ]
        return "\n".join([*head, *rows, *(f"! {doubt}." for doubt in self.doubts())])

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"

    def to_frame(self) -> Any:
        """Draws as a frame with columns chain, draw and those of x: pandas, or pyarrow where that is not installed."""
        num_chains, num_draws, d = self.x.shape
        chain, draw = np.divmod(np.arange(num_chains * num_draws), num_draws)
        flat = self.x.reshape(-1, d)
        table = pa.table({"chain": chain, "draw": draw} | {name: flat[:, j] for j, name in enumerate(self.names)})
        return table.to_pandas() if find_spec("pandas") else table

    def to_arviz(self) -> Any:
        """The draws for ArviZ, of either data model (the extra `ptilde[arviz]`)."""
        try:
            arviz: Any = import_module("arviz")
        except ImportError as error:
            raise ImportError("`to_arviz` needs ArviZ: install `ptilde[arviz]`.") from error
        stats = {"lp": self.log_q, "acceptance_rate": self.acceptance, "diverging": self.diverged}
        posterior = {name: self.x[..., j] for j, name in enumerate(self.names)}
        groups = {"posterior": posterior, "sample_stats": stats}
        new = int(arviz.__version__.split(".")[0]) >= 1
        return arviz.from_dict(groups) if new else arviz.from_dict(**groups)
