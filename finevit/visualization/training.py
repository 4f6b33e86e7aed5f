"""What the pages of all stages tell of a training: its cost, and the curves of what was logged and evaluated."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import isfinite

from finevit.evaluation.results import Results
from finevit.visualization.plots import Series, line_chart
from finevit.visualization.report import Chart, Figure

COUNTERS = {"time", "data_time", "memory", "patches_per_s", "base_lr", "fill", "attention_share"}
"""Logged values that tell nothing about learning, or what another chart already tells."""


def effort(scalars: Mapping[str, Sequence[float]], steps: int, batch: int, parameters: int) -> list[Figure]:
    """What it cost."""
    figures = [
        Figure("Encoder", _readable(parameters), "parameters"),
        Figure("Images seen", f"{steps * batch:,}", f"{steps:,} steps of {batch:,}"),
    ]
    times = scalars.get("time", ())
    if len(times):
        seconds = float(sum(times)) * steps / len(times)
        minutes, speed = f"{seconds / 60:.1f} min", sorted(batch / time for time in times)[len(times) // 2]
        figures.append(Figure("Training took", minutes, f"{speed:.1f} images/s, evaluation apart"))
    return figures


def loss_chart(scalars: Mapping[str, Sequence[float]]) -> Chart | None:
    """Everything that is minimised, in one chart; a single term is the whole."""
    losses = {name: values for name, values in scalars.items() if name.startswith("loss")}
    losses = {"loss": losses["loss"]} if len(losses) == 2 and "loss" in losses else losses
    lines = {name.removeprefix("loss_"): smoothed(values) for name, values in losses.items()}
    return chart("Loss", lines, log=spans(chain(*losses.values())))


def rates(scalars: Mapping[str, Sequence[float]]) -> list[Chart | None]:
    """Learning rate, speed and gradient norm."""
    return [
        chart("Learning rate", logged("lr", scalars)),
        chart("Images per second", logged("images_per_s", scalars, smooth=True)),
        chart("Gradient norm", logged("grad_norm", scalars, smooth=True), log=spans(scalars.get("grad_norm", ()))),
    ]


def further(scalars: Mapping[str, Sequence[float]], told: Iterable[str]) -> list[Chart | None]:
    """A chart of every other logged value that changed: what is scheduled, what a head reports."""
    known = {*COUNTERS, "lr", "images_per_s", "grad_norm", *told}
    names = sorted(name for name in scalars if name not in known and not name.startswith("loss"))
    return [chart(name.replace("_", " ").capitalize(), logged(name, scalars)) for name in names if len(set(scalars[name])) > 1]


def smoothed(values: Sequence[float]) -> Series:
    """Values of every step as a line, noise taken out."""
    return Series(range(1, len(values) + 1), values, smooth=max(1, len(values) // 30))


def logged(name: str, scalars: Mapping[str, Sequence[float]], *, smooth: bool = False) -> dict[str, Series]:
    """The line of one logged value; none where it was not logged."""
    values = scalars.get(name, ())
    if not len(values):
        return {}
    return {name: smoothed(values) if smooth else Series(range(1, len(values) + 1), values)}


def evaluated(results: Results, key: str, label: str) -> dict[str, Series]:
    """The line of one metric; none before the second evaluation."""
    steps, values = results.curve(key)
    return {label: Series(steps, values, marked=True)} if len(steps) > 1 else {}


def chart(
    title: str, series: Mapping[str, Series], *, log: bool = False, percent: bool = False, over: str = "step"
) -> Chart | None:
    """A chart, by default over the steps; none without a line."""
    return Chart(title, line_chart(title, series, log=log, percent=percent, over=over)) if series else None


def spans(values: Iterable[float]) -> bool:
    """Whether the values reach over more than one order of magnitude, so that a linear scale would hide the end."""
    known = [value for value in values if isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) > 10 * min(known)


def protocols(results: Results) -> list[str]:
    """On what the figures were taken, and how."""
    if not results.protocols:
        return []
    names = ", ".join(f"{metric}: {protocol}" for metric, protocol in results.protocols.items())
    return [f"Evaluated on {results.images:,} images never seen in training ({results.data}). Protocols: {names}."]


def _readable(number: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
