r"""Chains on any density that is known up to a constant, or on a score.

On half-lines and intervals chains move in a chart, $u = \log(x - a)$, $-\log(b - x)$ or $\log\frac{x-a}{b-x}$, with the
target $\log q(x(u)) + \log|dx/du|$, so that no step leaves the support. Between atoms and bodies, categories and counts
they jump (`samplers.Jump`); there log q is the log density on the measure that is Lebesgue's plus a unit mass on every
atom.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from ptilde import _validate
from ptilde._typing import LogDensity, Point, Scalar, Score
from ptilde.samplers import Chains, Column, Density, Field, Jump, Mala
from ptilde.samplers.base import Sampler, begin, returned, run, warm_up
from ptilde.samplers.ends import endless, few
from ptilde.samplers.langevin import along
from ptilde.samplers.progress import Progress, run_telling, say
from ptilde.tabular.kinds import Categorical, Count, Kind, on_atom
from ptilde.tabular.points import atoms_of, ends_of

DENSE = 50  # columns up to which the preconditioner is a full matrix
PROBES = 32  # pairs of directions at each of them, for the curl of a score


def sample(
    log_q: Callable[..., Any],
    x0: ArrayLike,
    *,
    sampler: Sampler | None = None,
    support: Any = None,
    num_steps: int = 1000,
    warmup: int = 1000,
    num_chains: int = 4,
    thin: int = 1,
    key: PRNGKeyArray | int = 0,
    verbose: bool = False,
    callback: Callable[[Progress], None] | None = None,
) -> Chains:
    """Draw from a density by Markov chains.

    A second run compiles nothing if only numbers differ: in x0, in the sampler's step size, in the arrays of a log q
    that is an `eqx.Module`. Another function is another program, even if it does the same; so is a longer run.

    Args:
        log_q: x ↦ log q(x), up to a constant; or a score, x ↦ ∇ log q(x) of shape (d,), for which accept/reject is
            approximate.
        x0: where chains start: (d,) for all, or (chain, d).
        sampler: of the bodies, such as `samplers.Nuts()`; `samplers.Mala()` if None. Warm-up finds its step size and
            its preconditioner, a full matrix up to 50 columns.
        support: a kind for each column, or one for all; all real if None. `SemiContinuous` columns are exactly on an
            atom or in their body, `Categorical` ones are on a category (a number), `Count` ones 0, 1, 2, ...
        num_steps: draws of each chain that are kept.
        warmup: steps before them, which are not.
        num_chains: if x0 is one point.
        thin: steps from one draw to the next.
        key: of all randomness, or a seed.
        verbose: whether a line is printed after each tenth of the draws: acceptance, divergences, time to go.
        callback: called with a `samplers.Progress` then, and no line is printed.

    Raises:
        ValueError: if log q or its gradient is not finite at x0, log q is NaN on an atom, x0 is outside its support, or
            shapes do not fit.
    """
    for name, value, least in (("num_steps", num_steps, 4), ("warmup", warmup, 0), ("num_chains", num_chains, 1)):
        _validate.whole(name, value, least)
    _validate.whole("thin", thin, 1)
    key = jr.key(key) if isinstance(key, int) else key
    start = _starts(x0, num_chains)
    kinds = _kinds(support, start.shape[1])
    target, chosen = _target(log_q, start.shape[1]), _placed(Mala() if sampler is None else sampler, kinds)
    bare = isinstance(target, Field)
    if bare and isinstance(chosen, Jump):
        raise ValueError("`support` must be all real for a bare score; give a log density, or transform the score.")
    start = _on_support(start, kinds)
    x = jnp.asarray(start, jnp.result_type(float))
    states = begin(chosen, target, x)
    _refuse_undefined(states, start)
    if isinstance(chosen, Jump):
        _refuse_undefined_atoms(log_q, kinds, start)
        chosen = chosen.aimed(target, states)
    chosen, states = _warmed(chosen, target, states, jr.fold_in(key, 0), warmup)
    tell = callback or (say if verbose else None)
    _, kept, infos = run_telling(chosen, target, states, jr.fold_in(key, 1), num_steps, thin, tell)
    chains = Chains(
        x=np.asarray(kept.x).swapaxes(0, 1),
        log_q=np.full(kept.log_q.shape[::-1], np.nan) if bare else np.asarray(kept.log_q).T,
        acceptance=np.asarray(infos.acceptance).T,
        diverged=np.asarray(infos.diverged).T,
        step_size=float(chosen.step_size),
        scale=None if chosen.scale is None else np.asarray(chosen.scale),
        names=tuple(f"x{j}" for j in range(start.shape[1])),
        exact=not bare and chosen.goal is not None,
        curl=_curl(target, kept.x, chosen.scale, jr.fold_in(key, 2)) if bare else None,
        endless=endless(target, kept.x.reshape(-1, start.shape[1]), rays=not isinstance(chosen, Jump)),
    )
    if chains.doubts():
        doubts = "; ".join(chains.doubts())
        cure = "Draw more (`num_steps`, `warmup`), or start chains elsewhere (`x0`)."
        if chains.endless:
            cure = "Check its sign; if it ends somewhere, say where (`support`)."
        warnings.warn(f"The chains are not to be trusted yet: {doubts}. {cure}", ConvergenceWarning, stacklevel=2)
    return chains


def _starts(x0: ArrayLike, num_chains: int) -> NDArray[np.float64]:
    start = np.asarray(x0, np.float64)
    if start.ndim not in (1, 2) or start.size == 0:
        raise ValueError(f"`x0` must be a point (d,), or one for each chain (chain, d); got shape {start.shape}.")
    return np.broadcast_to(start, (num_chains, start.size)) if start.ndim == 1 else start


def _kinds(support: Any, d: int) -> Sequence[Kind]:
    """The kind of each column; none if there is no `support`."""
    if support is None:
        return ()
    kinds = [support] * d if isinstance(support, Kind) else support
    if not isinstance(kinds, Sequence) or len(kinds) != d or not all(isinstance(kind, Kind) for kind in kinds):
        raise ValueError(
            f"`support` must be a kind, such as Positive() or SemiContinuous(atoms=(0,)), for each of the {d} columns; "
            f"got {support!r}."
        )
    for kind in kinds:
        if kind.missing or (not isinstance(kind, Categorical | Count) and kind.grid is not None):
            raise ValueError(f"`support` must have no grid and no missing values here; got {kind}.")
        if isinstance(kind, Categorical) and atoms_of(kind) != kind.categories:
            raise ValueError(f"`support` must have categories that are numbers; got {kind}. Give them codes: 0, 1, ...")
    return kinds


def _placed(sampler: Any, kinds: Sequence[Kind]) -> Any:
    """The sampler, with charts and jumps where some column is not the line."""
    columns = [_column(kind) for kind in kinds]
    return sampler if all(column == Column() for column in columns) else Jump(sampler, columns)


def _column(kind: Kind) -> Column:
    if isinstance(kind, Count):
        return Column(count=True)
    return Column(atoms_of(kind), None if isinstance(kind, Categorical) else ends_of(kind))


def _on_support(start: NDArray[np.float64], kinds: Sequence[Kind]) -> NDArray[np.float64]:
    """Where chains start, exactly on their atoms."""
    start = np.array(start)
    for j, kind in enumerate(kinds):
        values, (low, high) = start[:, j], ends_of(kind)
        fits = (values > low) & (values < high) & (not isinstance(kind, Categorical | Count))
        if isinstance(kind, Count):
            fits = (values >= 0) & (values == np.round(values))
        for atom in atoms_of(kind):
            there = on_atom(values, atom)
            values[there], fits = atom, fits | there
        if not fits.all():
            chain = int(np.argmin(fits))
            raise ValueError(
                f"`x0` must lie inside its support {kind}; got {values[chain]} in column {j} of chain {chain}."
            )
    return start


def _target(log_q: Callable[..., Any], d: int) -> Any:
    shape = returned(log_q, d)
    if shape == ():
        return Density(log_q)
    if shape != (d,):
        raise ValueError(f"`log_q` must return one number, or a score of shape ({d},); got {shape}.")
    return Field(log_q)


def _refuse_undefined(states: Any, start: NDArray[np.float64]) -> None:
    for what, values in (("log q", states.log_q[:, None]), ("its gradient", states.score)):
        fine = np.isfinite(np.asarray(values)).all(1)
        if not fine.all():
            chain = int(np.argmin(fine))
            raise ValueError(
                f"`x0` must be where log q and its gradient are finite; got {what} = "
                f"{np.asarray(values)[chain].tolist()} at {start[chain].tolist()} (chain {chain}). Start elsewhere."
            )


def _refuse_undefined_atoms(log_q: LogDensity, kinds: Sequence[Kind], start: NDArray[np.float64]) -> None:
    """Refuse a log density that is NaN or +inf where one column moves from the first start to an atom."""
    places = [(j, atom) for j, kind in enumerate(kinds) for atom in atoms_of(kind)]
    if not places:
        return
    x = np.repeat(start[:1], len(places), 0)
    for row, (j, atom) in zip(x, places, strict=True):
        row[j] = atom
    values = np.asarray(_values(log_q, jnp.asarray(x, jnp.result_type(float))))
    wrong = np.isnan(values) | (values == np.inf)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"`log_q` must be a number on every atom, or -inf; got {values[i]} at {x[i].tolist()}, where column "
            f"{places[i][0]} is on {places[i][1]:g}. Say what it is there, as by jnp.where(x == {places[i][1]:g}, ...)."
        )


@eqx.filter_jit
def _values(log_q: LogDensity, x: Float[Array, "n d"]) -> Float[Array, " n"]:
    return jax.vmap(log_q)(x)


def _curl(field: Field, x: Float[Array, "draw chain d"], scale: Any, key: PRNGKeyArray) -> float | None:
    """How much of the field's Jacobian is antisymmetric, at a few of the draws; None if it cannot be differentiated."""
    try:
        share = float(_antisymmetric(field.score, few(x.reshape(-1, x.shape[-1])), scale, key))
    except (TypeError, ValueError, NotImplementedError):  # as JAX has it of callbacks and of rules for one direction
        return None
    return share if np.isfinite(share) else None


@eqx.filter_jit
def _antisymmetric(score: Score, x: Float[Array, "n d"], scale: Any, key: PRNGKeyArray) -> Scalar:
    r"""$\|J - J^\top\|_F / 2\|J\|_F$ of the Jacobian in units of the preconditioner, by random u and v.

    With $a = u^\top Jv$ and $b = v^\top Ju$ it is the root of $\sum (a - b)^2 / 2\sum (a^2 + b^2)$.
    """

    def products(x: Point, key: PRNGKeyArray) -> Float[Array, "2 probe"]:
        _, jacobian = jax.linearize(score, x)
        u, v = jax.vmap(jax.vmap(lambda w: along(scale, w)))(jr.normal(key, (2, PROBES, x.size), x.dtype))
        product = jax.vmap(lambda u, v: jnp.vdot(u, jacobian(v)))
        return jnp.stack([product(u, v), product(v, u)])

    a, b = jnp.moveaxis(jax.vmap(products)(x, jr.split(key, len(x))), 1, 0)
    size = jnp.sum(a**2 + b**2)
    return jnp.sqrt(jnp.sum((a - b) ** 2) / jnp.where(size > 0, 2 * size, 1.0))


def _warmed(sampler: Any, target: Any, states: Any, key: PRNGKeyArray, num_steps: int) -> tuple[Any, Any]:
    d = states.x.shape[1]
    if not num_steps:
        return sampler, states
    if isinstance(sampler, Jump):
        return sampler.warm_up(target, states, key, num_steps, dense=d <= DENSE)
    if sampler.goal is None:
        return sampler, run(sampler, target, states, key, jnp.asarray(0), 1, num_steps)[0]
    if sampler.scale is None:
        sampler = eqx.tree_at(lambda s: s.scale, sampler, jnp.ones(d), is_leaf=lambda leaf: leaf is None)
    return warm_up(sampler, target, states, key, num_steps, dense=d <= DENSE)
