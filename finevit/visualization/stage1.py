"""Stage I's report: which figures, charts and pictures tell whether masked distillation worked."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import isfinite

from finevit.evaluation.results import Results
from finevit.visualization.gallery import Column
from finevit.visualization.plots import Series, line_chart
from finevit.visualization.report import Chart, Figure, Page

R2, PROBE, CEILING = "stage1/r2", "stage1/probe", "stage1/probe_teacher"
COUNTERS = {"time", "data_time", "memory", "patches_per_s", "base_lr"}
"""Logged values that tell nothing about learning, or what another chart already tells."""


def page(
    *,
    scalars: Mapping[str, Sequence[float]],
    results: Results,
    steps: int,
    batch: int,
    parameters: int,
    facts: Sequence[tuple[str, str]],
    gallery: Sequence[Column],
    config: str,
) -> Page:
    """The page of a run of ``steps`` batches of ``batch`` images; ``scalars`` are the training's logged values, one a step."""
    before, after = results.at(0), results.at(steps)
    return Page(
        title="FineViT, Stage I",
        subtitle="Masked feature distillation: the encoder learns to tell what a frozen teacher sees in patches hidden from it.",
        figures=[*quality(before, after), *effort(scalars, steps, batch, parameters)],
        facts=facts,
        charts=charts(scalars, results),
        gallery=gallery,
        config=config,
        footnotes=footnotes(results),
    )


def quality(before: Mapping[str, float], after: Mapping[str, float]) -> list[Figure]:
    """What was learned, next to the untrained encoder and to the teacher; only what was measured."""
    figures = []
    if R2 in after:
        was = f"untrained {before[R2]:.2f}; " if R2 in before else ""
        figures.append(Figure("Masked R²", f"{after[R2]:.3f}", f"teacher's features; {was}1 is perfect".replace("-", "−")))
    if PROBE in after:
        gain = (after[PROBE] - before[PROBE]) * 100 if PROBE in before else None
        was = "" if gain is None else f"; untrained {before[PROBE]:.1%}, {gain:+.1f} points".replace("-", "−")
        figures.append(Figure("Patch probe", f"{after[PROBE]:.1%}", f"object class, linear{was}"))
    if CEILING in after:
        figures.append(Figure("Teacher's probe", f"{after[CEILING]:.1%}", "the same probe on its features"))
    return figures


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


def charts(scalars: Mapping[str, Sequence[float]], results: Results) -> list[Chart]:
    """Loss, R², probe, learning rate and speed, then every other logged value that changed (schedules, gradient norm)."""
    losses = {name: values for name, values in scalars.items() if name.startswith("loss")}
    explained = {"training batches": _smooth(scalars["r2"])} if len(scalars.get("r2", ())) else {}
    drawn = [
        _chart(
            "Loss",
            {name.removeprefix("loss_"): _smooth(values) for name, values in losses.items()},
            log=_spans(chain(*losses.values())),
        ),
        _chart("R² at masked patches", {**explained, **_curve(results, R2, "unseen images")}),
        _chart(
            "Patch probe: object class, linear",
            {**_curve(results, PROBE, "student"), **_curve(results, CEILING, "teacher")},
            percent=True,
        ),
        _chart("Learning rate", _line("lr", scalars)),
        _chart("Images per second", _line("images_per_s", scalars, smooth=True)),
        _chart("Gradient norm", _line("grad_norm", scalars, smooth=True), log=_spans(scalars.get("grad_norm", ()))),
    ]
    told = {*losses, *COUNTERS, "r2", "lr", "images_per_s", "grad_norm"}
    for name in sorted(scalars.keys() - told):
        if len(set(scalars[name])) > 1:
            drawn.append(_chart(name.replace("_", " ").capitalize(), _line(name, scalars)))
    return [chart for chart in drawn if chart]


def footnotes(results: Results) -> list[str]:
    """How the figures were taken."""
    if not results.protocols:
        return []
    names = ", ".join(f"{metric}: {protocol}" for metric, protocol in results.protocols.items())
    return [
        f"Evaluated on {results.images:,} images never seen in training ({results.data}). Protocols: {names}.",
        "The probe is trained on the patches of every second of these images and tested on the others.",
    ]


def _smooth(values: Sequence[float]) -> Series:
    return Series(range(1, len(values) + 1), values, smooth=max(1, len(values) // 30))


def _line(name: str, scalars: Mapping[str, Sequence[float]], *, smooth: bool = False) -> dict[str, Series]:
    values = scalars.get(name, ())
    if not len(values):
        return {}
    return {name: _smooth(values) if smooth else Series(range(1, len(values) + 1), values)}


def _curve(results: Results, key: str, label: str) -> dict[str, Series]:
    steps, values = results.curve(key)
    return {label: Series(steps, values, marked=True)} if len(steps) > 1 else {}


def _chart(title: str, series: Mapping[str, Series], *, log: bool = False, percent: bool = False) -> Chart | None:
    return Chart(title, line_chart(title, series, log=log, percent=percent)) if series else None


def _spans(values: Iterable[float]) -> bool:
    """Whether the values reach over more than one order of magnitude, so that a linear scale would hide the end."""
    known = [value for value in values if isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) > 10 * min(known)


def _readable(number: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
