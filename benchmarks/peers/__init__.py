"""What ours is compared with.

A peer has a `name`, and

* `fit(x) -> itself`: from rows, as the case gives them to ours;
* `sample(n, seed) -> (n, d)` where it draws;
* `score_samples(x) -> (n,)` where it has a normalised log density, in nats and in the units of the rows;
* `needs`: the packages that it comes from, if any but the project's own. They are imported when it is fitted.

A peer that is trained until a clock stops it is made with `seconds` and `seed`; compilation counts.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from numpy.typing import NDArray

GROUPS = ("simple", "flows", "generators", "recipe", "energies")


def row(peer: Any, x: NDArray, measure: Callable[[Any], dict[str, float]]) -> dict[str, dict[str, float]]:
    """The peer's line of a table: `fit s` and what `measure` says of it, or no number where it could not be fitted."""
    absent = [package for package in getattr(peer, "needs", ()) if find_spec(package) is None]
    if absent:
        return {f"{peer.name}: {', '.join(absent)} not installed": {}}
    print(f"  {peer.name} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        fitted = peer.fit(x)
        return {peer.name: {"fit s": time.perf_counter() - start, **measure(fitted)}}
    except Exception as error:  # one peer's fault must not cost the other rows
        traceback.print_exc()
        return {f"{peer.name}: failed, {type(error).__name__}": {}}
