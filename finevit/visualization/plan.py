"""A plan as people read it: a table for the terminal, and a page."""

from datetime import datetime, timedelta

import numpy as np

from finevit.planning.memory import GIB
from finevit.planning.plan import Plan, Point
from finevit.planning.scheduled import group_of
from finevit.visualization.plots import Series, line_chart
from finevit.visualization.report import Chart, Figure, Page, Section, fragment

SIDE = {"resolution": "Resolution (side of a square)"}
PREDICTED = {
    "patches": "Patches a step",
    "tokens": "Text tokens a step",
    "flops": "FLOPs a step",
    "seconds": "Seconds a step",
    "memory": "Peak memory, GiB",
}


def text(plan: Plan) -> str:
    """The plan for the terminal."""
    table = rows(plan)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    said = [f"{name}: {value}" for name, value in facts(plan)]
    return "\n".join([f"{plan.config}: {plan.steps:,} steps of {plan.batch} images", "", *lines, "", *said, *plan.notes])


def rows(plan: Plan) -> list[list[str]]:
    """Header and one row for each step at which something bends."""
    names = [name for name in plan.points[0].values if any(point.values[name] for point in plan.points)]
    predicted = ["patches", *(["tokens"] if plan.totals["tokens"] else []), "FLOPs", "seconds", "images/s", "GiB"]
    return [
        ["step", *(name.removeprefix(f"{group_of(name)}.") for name in names), "lr", *predicted],
        *(_row(plan, point, names, tokens="tokens" in predicted) for point in _shown(plan)),
    ]


def facts(plan: Plan) -> list[tuple[str, str]]:
    """The sums, and where they were predicted."""
    totals = plan.totals
    end = datetime.fromisoformat(plan.made) + timedelta(seconds=totals["seconds"])
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in plan.parts.items())
    found = [
        ("images seen", f"{totals['images']:,.0f}"),
        ("patches", short(totals["patches"])),
        ("text tokens", short(totals["tokens"])),
        ("FLOPs", short(totals["flops"])),
        ("time", f"{duration(totals['seconds'])} on {plan.device}; started now, it ends {end:%Y-%m-%d %H:%M}"),
        ("memory", f"{totals['memory'] / GIB:.2f} GiB at the peak, of which {parts}"),
    ]
    return [(name, value) for name, value in found if value != "0"]


def page(plan: Plan, config: str) -> Page:
    """The page of a plan; ``config`` is the resolved one as text."""
    totals = plan.totals
    peak = max(point.flops for point in plan.points)
    figures = [
        Figure("Time", duration(totals["seconds"]), plan.device),
        Figure("Images seen", f"{totals['images']:,.0f}", f"{plan.steps:,} steps of {plan.batch}"),
        Figure("FLOPs", short(totals["flops"]), f"up to {short(peak)} a step"),
        Figure("Patches", short(totals["patches"]), f"{short(totals['patches'] / plan.steps)} a step"),
        Figure("Peak memory", f"{totals['memory'] / GIB:.2f} GiB", "of one rank"),
    ]
    if totals["tokens"]:
        figures.insert(4, Figure("Text tokens", short(totals["tokens"]), f"{short(totals['tokens'] / plan.steps)} a step"))
    return Page(
        title="Plan of a run",
        subtitle=plan.config,
        figures=figures,
        sections=[
            Section("What is scheduled", _part(charts=scheduled_charts(plan)), "Functions of the step, together."),
            Section("What it will cost", _part(charts=cost_charts(plan)), "Predicted for one rank on this device."),
            Section("Step by step", _part(rows=rows(plan)), "The steps at which something bends; between them all is a line."),
            Section("In all", _part(facts=facts(plan))),
        ],
        config=config,
        footnotes=plan.notes,
    )


def scheduled_charts(plan: Plan) -> list[Chart]:
    """A chart of everything that moves, of the learning rate, and one of each mapping of weights, such as those of the tasks."""
    values = {name: [float(point.values[name]) for point in plan.points] for name in plan.points[0].values}
    moves = {name: line for name, line in values.items() if len(set(line)) > 1 or name == "resolution"}
    lines = {SIDE.get(name, name): line for name, line in moves.items() if not group_of(name)}
    charts = [_chart(plan, title, line) for title, line in {"Learning rate": [point.lr for point in plan.points], **lines}.items()]
    steps = [point.step for point in plan.points]
    for group in sorted({group_of(name) for name in moves} - {""}):
        shares = {name.rpartition(".")[2]: Series(steps, line) for name, line in values.items() if group_of(name) == group}
        charts.append(Chart(f"{group}: shares", line_chart(f"{group}: shares", shares, percent=True)))
    return charts


def cost_charts(plan: Plan) -> list[Chart]:
    """Predicted cost of the steps, and the sum of FLOPs."""
    found = []
    for name, title in PREDICTED.items():
        values = [getattr(point, name) / (GIB if name == "memory" else 1) for point in plan.points]
        found += [_chart(plan, title, values)] if any(values) else []
    every = np.arange(plan.steps)
    sums = np.cumsum(plan.at("flops", every))
    return [*found, Chart("FLOPs so far", line_chart("FLOPs so far", {"FLOPs": Series(every, sums)}))]


def short(number: float) -> str:
    """A large number as people write it: 1,234,000 -> 1.23 M."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            digits = len(f"{number / size:.0f}")
            return f"{number / size:,.{max(0, 3 - digits)}f} {unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """A time as people say it."""
    for unit, size, least in (("days", 86400, 2), ("h", 3600, 1), ("min", 60, 1)):
        if seconds >= least * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _shown(plan: Plan) -> list[Point]:
    """The points without those that only mark where a plateau ends: the step right before a jump."""
    around = zip([None, *plan.points], plan.points, [*plan.points[1:], None], strict=False)
    return [point for before, point, after in around if not (before and after and _ends_plateau(before, point, after))]


def _ends_plateau(before: Point, point: Point, after: Point) -> bool:
    return before.values == point.values != after.values and after.step == point.step + 1


def _row(plan: Plan, point: Point, names: list[str], *, tokens: bool) -> list[str]:
    values = [_value(point.values[name]) for name in names]
    texts = [f"{point.tokens:,.0f}"] if tokens else []
    cost = [short(point.flops), f"{point.seconds:.3f}", f"{plan.batch / point.seconds:.1f}", f"{point.memory / GIB:.2f}"]
    return [f"{point.step:,}", *values, f"{point.lr:.2e}", f"{point.patches:,.0f}", *texts, *cost]


def _value(value: float) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value:.4g}"


def _chart(plan: Plan, title: str, values: list[float]) -> Chart:
    return Chart(title, line_chart(title, {title: Series([point.step for point in plan.points], values)}))


def _part(**values: object) -> str:
    return fragment("plan.html", **{"charts": (), "rows": (), "facts": (), **values})
