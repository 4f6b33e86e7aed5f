"""Line and bar charts as SVG for a page: drawn by matplotlib without its global state, coloured by the page's own style sheet."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("#3b7ddd", "#e0702e", "#2f9e78", "#9a62d0")
"""Colours of the lines, legible on light and on dark."""
INK = "#010203"
"""Stands for the colour of the text around the chart, which the page decides."""
POINTS = 600
"""A longer line is thinned to this many points."""


class Series(NamedTuple):
    """A line; ``smooth`` > 1 draws the running mean over so many points above a faint line, ``marked`` dots every point."""

    steps: Sequence[float] | np.ndarray
    values: Sequence[float] | np.ndarray
    smooth: int = 1
    marked: bool = False


def line_chart(
    title: str,
    series: Mapping[str, Series],
    *,
    log: bool = False,
    percent: bool = False,
    over: str = "step",
    log_over: bool = False,
    marks: Mapping[str, float] | None = None,
) -> str:
    """An ``<svg>`` element with one line per name; ``log`` scales the values logarithmically, ``percent`` labels shares, ``over``
    names what the lines run over, on a logarithmic scale with ``log_over``. ``marks`` are upright dashed lines with their names."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9}):
        figure = Figure(figsize=(4.6, 2.5), layout="constrained")
        axes = figure.subplots()
        for index, (name, line) in enumerate(series.items()):
            _draw(axes, name, line, LINES[index % len(LINES)])
        if log:
            axes.set_yscale("log")
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        elif not log:
            axes.ticklabel_format(axis="y", useOffset=False)
        if log_over:
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        for name, place in (marks or {}).items():
            axes.axvline(place, color=INK, alpha=0.6, linewidth=1.2, linestyle="--", label=name)
        _furnish(axes, over, legend=len(series) > 1 or bool(marks))
        return _svg(figure, title)


def bar_chart(title: str, bars: Mapping[str, float], *, over: str) -> str:
    """An ``<svg>`` element with one lying bar per name, from top to bottom, and its value behind it; ``over`` names the values."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "text.parse_math": False}):
        figure = Figure(figsize=(4.6, max(1.2, 0.5 + 0.24 * len(bars))), layout="constrained")
        axes = figure.subplots()
        drawn = axes.barh(range(len(bars)), list(bars.values()), color=LINES[0], height=0.65)
        axes.bar_label(drawn, [f"{value:,g}" for value in bars.values()], padding=3, color=INK)
        axes.set_yticks(range(len(bars)), list(bars))
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        _furnish(axes, over, legend=False)
        axes.grid(visible=False)
        return _svg(figure, title)


def running_mean(values: Sequence[float] | np.ndarray, window: int) -> np.ndarray:
    """The mean of the last ``window`` finite values (fewer at the beginning), same length."""
    array = np.asarray(values, dtype=float)
    known = np.isfinite(array)
    sums, counts = np.cumsum(np.where(known, array, 0.0)), np.cumsum(known)
    sums[window:], counts[window:] = sums[window:] - sums[:-window], counts[window:] - counts[:-window]
    return np.divide(sums, counts, out=np.full(len(array), np.nan), where=counts > 0)


def _draw(axes: "Axes", name: str, line: Series, colour: str) -> None:
    steps, values = np.asarray(line.steps), np.asarray(line.values, dtype=float)
    keep = np.unique(np.linspace(0, max(len(steps) - 1, 0), min(POINTS, len(steps))).astype(int))
    if line.smooth > 1:
        axes.plot(steps[keep], values[keep], color=colour, alpha=0.3, linewidth=0.7)
        values = running_mean(values, line.smooth)
    axes.plot(
        steps[keep],
        values[keep],
        color=colour,
        linewidth=1.8,
        label=name,
        marker="o" if line.marked else None,
        markersize=4,
    )


def _furnish(axes: "Axes", over: str, *, legend: bool) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=INK, alpha=0.35)
    axes.tick_params(colors=INK, length=3, which="both")
    axes.grid(axis="y", color=INK, alpha=0.1)
    axes.set_xlabel(over, color=INK)
    if legend:
        axes.legend(frameon=False, labelcolor=INK)


def _svg(figure: "Figure", title: str) -> str:
    """The bare element: no prologue, metadata, ids of groups or fixed size; text in the font and colour of the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    head, body = buffer.getvalue().split("<svg", 1)[1].split(">", 1)
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<title>.*?</title>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href").replace(INK, "currentColor")
    body = re.sub(r"font-family: [^;\"]*; ?", "", body)
    box = re.search(r'viewBox="[^"]*"', head)
    return f'<svg role="img" aria-label="{title}" {box[0] if box else ""}>{body}'
