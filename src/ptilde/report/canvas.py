"""How a picture is made: drawn by matplotlib, handed over as SVG that takes its colours from the page it stands in.

Names of columns are drawn as they are: never read as mathematics or markup, control characters made visible, long ones
cut. What would be many thousand shapes is drawn as one bitmap inside the SVG (`rasterized=True`).
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REAL, MODEL = "#4477aa", "#dd7733"  # readable on white and on black
INK, FAINT = "#010203", "#040506"  # stand-ins: the page's own colours take their place
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
}


class Picture(NamedTuple):
    """A drawing, and what it shows in words for those who do not see it."""

    svg: str
    title: str
    alt: str


def legible(text: str) -> str:
    """The text with every control character but the line break replaced by a sign that stands for it."""
    return "".join(c if c == "\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shown(name: str, longest: int = 28) -> str:
    """A name of a column as it is drawn."""
    plain = legible(name).replace("\n", " ")
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def picture(draw: Callable[[Figure], object], size: tuple[float, float], title: str, alt: str) -> Picture:
    """Draw on a figure of that size in inches, and keep the SVG element alone, its two inks those of the page."""
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {**STYLE, "svg.hashsalt": title + alt}  # ids must differ between the pictures of a page
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the layout has no glyph for is drawn by the reader's font
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        draw(figure)
        for axes in figure.findobj(Axes):  # insets too
            axes.set_facecolor("none")  # type: ignore[attr-defined]
        file = io.StringIO()
        figure.savefig(
            file, format="svg", dpi=130, bbox_inches="tight", pad_inches=0.05, metadata={"Date": None, "Creator": None}
        )
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return Picture(text.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)"), title, alt)


def one(axes: Axes | None) -> Axes:
    """The axes that were given, or those of a new figure."""
    if axes is not None:
        return axes
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def many(axes: Any, rows: int, across: int, size: tuple[float, float]) -> NDArray[Any]:
    """An array (rows, across) of the axes that were given, or of a new figure with axes of that size in inches.

    Raises:
        ValueError: if so many were not given.
    """
    if axes is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(size[0] * across, size[1] * rows), layout="constrained")
        return figure.subplots(rows, across, squeeze=False)
    given = np.asarray(axes, object)
    if given.size != rows * across:
        raise ValueError(f"`axes` must hold {rows * across} axes, one for each picture; got {given.size}.")
    return given.reshape(rows, across)


def listed(axes: Any, number: int, size: tuple[float, float] = (3.6, 2.3), across: int = 3) -> NDArray[Any]:
    """The first axes, as many as there are pictures; those of a new figure stand in rows of three."""
    if axes is not None:
        return many(axes, number, 1, size).ravel()
    across = min(number, across)
    places = many(None, -(-number // across), across, size).ravel()
    for left in places[number:]:
        left.set_axis_off()
    return places[:number]


def plainly(*axes: Axes) -> None:
    """Have every text of the axes read as it stands: a name with dollar signs in it is no mathematics."""
    from matplotlib.text import Text

    for place in axes:
        for text in place.findobj(Text):
            text.set_parse_math(False)  # type: ignore[attr-defined]


def sticks(axes: Axes, labels: Sequence[str], real: Sequence[float], model: Sequence[float]) -> None:
    """Shares of single values, real beside model."""
    place = np.arange(len(labels))
    for shift, shares, color in ((-0.12, real, REAL), (0.12, model, MODEL)):
        axes.vlines(place + shift, 0, shares, color=color, linewidth=3)
        axes.plot(place + shift, shares, "o", color=color, markersize=4)
    axes.set_xticks(place, labels)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylim(0, None)
    axes.set_ylabel("share of rows")


def histogram(
    axes: Axes,
    real: NDArray,
    model: NDArray,
    totals: tuple[int, int],
    *,
    logarithmic: bool,
    step: float | None = None,
    num_bins: int = 49,
    legend: bool = True,
) -> None:
    """Shares of rows in bins, real over model; all but a thousandth of the values are shown.

    Of values that are recorded in steps bins hold whole ones, and a share is that of a bin of the usual width: else
    bins of one step and of two take turns, and the histogram is a comb.
    """
    both = np.concatenate([real, model])
    if not len(both):
        return
    low, high = np.quantile(both, [0.0005, 0.9995])
    edges = _edges(low, high, num_bins, step, logarithmic=logarithmic)
    if logarithmic:
        logarithmic_scale(axes, "x")
    width = np.diff(np.log(edges) if logarithmic else edges)
    even = width.sum() / num_bins / width  # 1 but for bins that end between recorded values
    for values, total, color, label in zip((real, model), totals, (REAL, MODEL), ("real", "model"), strict=True):
        axes.stairs(np.histogram(values, edges)[0] / total * even, edges, color=color, label=label, linewidth=1.2)
    axes.set_ylim(0, None)
    if legend:
        axes.legend(fontsize=7)


def _edges(low: float, high: float, num_bins: int, step: float | None, *, logarithmic: bool) -> NDArray[np.float64]:
    if step is not None:
        low, high = low - step / 2, high + step / 2
    if logarithmic:
        edges = np.geomspace(low, max(high, low * 1.001), num_bins + 1)
    else:
        edges = np.linspace(low, max(high, low + 1e-9 * (1 + abs(low))), num_bins + 1)
    return edges if step is None else step * (np.unique(np.round(edges / step - 0.5)) + 0.5)


def logarithmic_scale(axes: Axes, which: str, num_ticks: int = 5) -> None:
    """A logarithmic axis whose ticks are plain numbers (the usual ones are mathematics, which is not read here)."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    from ptilde.report.ticks import Decades, spelt

    (axes.set_xscale if which == "x" else axes.set_yscale)("log", nonpositive="mask")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(Decades(numticks=num_ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: spelt(value)))
    axis.set_minor_locator(NullLocator())


def scatter(axes: Axes, x: NDArray, y: NDArray, color: str, *, most: int = 1500) -> None:
    """The first points, as one bitmap."""
    axes.plot(x[:most], y[:most], ".", color=color, markersize=2, rasterized=True)


def heat_map(axes: Axes, matrix: NDArray, labels: Sequence[str], *, named: bool) -> None:
    """A square of values between -1 and 1; the rows are named too if `named`, and nothing is when they are many."""
    axes.pcolormesh(matrix, vmin=-1, vmax=1, cmap="RdBu_r", rasterized=True)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    place = np.arange(len(labels)) + 0.5
    few = len(labels) <= 12
    axes.set_xticks(place if few else [], labels if few else [], rotation=90)
    axes.set_yticks(place if few and named else [], labels if few and named else [])
