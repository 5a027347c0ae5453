"""Laws of one column made by hand, with the distribution functions that they have, by scipy."""

import numpy as np
from scipy.stats import lognorm, norm

from ptilde import Positive, Real, SemiContinuous
from ptilde.predictive import Nodes, Piece, PredictiveLaw
from ptilde.tabular.bodies import BodyMap, Cells
from ptilde.tabular.charts import HalfLine, Line
from ptilde.tabular.columns import Column
from ptilde.tabular.marginal import Marginal

STRAIGHT = np.array([[-1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]])
ATOMS = np.array([0.0, 200.0])
SHARES = np.array([[0.2, 0.1], [0.5, 0.05], [0.01, 0.3]])
# Rows: of each the log of the body is N(MEAN, SPREAD²) under the first member, and N(MEAN - 1, (SPREAD / 2)²) under the
# second.
MEAN, SPREAD = np.array([0.5, 1.0, 3.0]), np.array([0.6, 0.9, 0.3])
FIRST = 0.6  # the weight of the first member


def gaussian_nodes(mean, spread):
    """The nodes of N(mean, spread²)."""
    t = np.linspace(-8, 8, 129)
    cdf = np.broadcast_to(norm.cdf(t), (len(mean), len(t)))
    return Nodes(mean[:, None] + spread[:, None] * t, cdf, norm.pdf(t) / spread[:, None])


def pieces(level, share):
    """A level under two members."""
    return (
        Piece(level, FIRST * share, gaussian_nodes(MEAN, SPREAD)),
        Piece(level, (1 - FIRST) * share, gaussian_nodes(MEAN - 1, SPREAD / 2)),
    )


def claims(grid=None, fine=0.4):
    """Atoms at 0 and 200, and a log-normal body; of two levels the second has the share `fine` of it."""
    kind = SemiContinuous(tuple(ATOMS), Positive(grid=grid))
    cells = Cells.of(kind.body, ATOMS)
    column = Column("y", kind, tuple(ATOMS), BodyMap(Marginal(HalfLine(), STRAIGHT), cells))
    body, shares = 1 - SHARES.sum(1), [1.0] if len(cells) == 1 else [1 - fine, fine]
    parts = tuple(p for level, s in enumerate(shares) for p in pieces(level, s * body))
    return PredictiveLaw(column, ATOMS, SHARES, parts)


def plain(kind=None, chart=None):
    """No atoms: one member, on the line or in a chart."""
    column = Column("y", kind or Real(), (), BodyMap(Marginal(chart or Line(), STRAIGHT), (None,)))
    return PredictiveLaw(column, np.zeros(0), np.zeros((3, 0)), (Piece(0, np.ones(3), gaussian_nodes(MEAN, SPREAD)),))


def only_atoms():
    """No body."""
    return PredictiveLaw(
        Column("y", SemiContinuous(tuple(ATOMS), Real()), tuple(ATOMS), None),
        ATOMS, np.array([[0.25, 0.75]]), (),
    )  # fmt: skip


def body_laws():
    """The two members' laws of the body, frozen, rows as columns (3, 1)."""
    of = lambda mean, spread: lognorm(spread[:, None], scale=np.exp(mean)[:, None])  # noqa: E731
    return of(MEAN, SPREAD), of(MEAN - 1, SPREAD / 2)


def body_cdf(y):
    """(3, m) distribution function of the body off a grid, at y (m,) or (3, m)."""
    first, second = body_laws()
    return FIRST * first.cdf(y) + (1 - FIRST) * second.cdf(y)


def exact_cdf(y, strict=False):
    """The same with the atoms."""
    atoms = [s * (a < y if strict else a <= y) for a, s in zip(ATOMS, SHARES.T[..., None], strict=True)]
    return sum(atoms) + (1 - SHARES.sum(1))[:, None] * body_cdf(y)
