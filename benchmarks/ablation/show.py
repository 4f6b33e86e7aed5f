"""What the ablation shows: scores by group of tasks, the table, the plot."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from finevit.visualization.plots import LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENCODERS = ("I", "I + II", "I + II + III")
GROUPS = {
    "general": {
        "caption": "stage3/global_caption_score",
        "zero-shot": "stage2/scenes_top1",
        "retrieval": "stage2/r1",
    },
    "local": {
        "grounding": "stage3/text2box_iou50",
        "text found": "stage3/ocr2box_iou50",
        "text read": "stage3/box2ocr_exact",
        "counting": "stage3/counting_exact",
    },
}
"""The metric of each task."""
COSTS = {"encoder": "trained", "language": "language model tuned", "contrastive": "text tower tuned"}
"""How the minutes of a row are called."""


def scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """The score of each task, and of each group the mean; a task that the unseen scenes do not ask is left out."""
    found: dict[str, float] = {}
    for group, tasks in GROUPS.items():
        own = {task: metrics[key] for task, key in tasks.items() if key in metrics}
        found |= {**own, group: fmean(own.values())}
    return found


def table(rows: Sequence[dict]) -> str:
    """In Markdown: mean (lowest to highest) over seeds of each score, and mean minutes, for each encoder."""
    lines = [["", *ENCODERS], ["---"] * (1 + len(ENCODERS))]
    for name in rows[0]["scores"]:
        label = f"**{name}**" if name in GROUPS else name
        lines.append([label, *(_spread(values) for values in _by_encoder(rows, "scores", name))])
    for name, label in COSTS.items():
        lines.append([f"minutes, {label}", *(_minutes(values) for values in _by_encoder(rows, "minutes", name))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(rows: Sequence[dict], file: Path) -> None:
    """A bar for each task and encoder, with its range over seeds; the groups side by side."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ablation", "font.size": 9}):
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True, width_ratios=[1 + len(tasks) for tasks in GROUPS.values()])
        for panel, (group, tasks) in zip(axes, GROUPS.items(), strict=True):
            _bars(panel, rows, [name for name in (*tasks, group) if name in rows[0]["scores"]], group)
        axes[0].set_ylim(0, 1)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        figure.savefig(file, format="svg", metadata={"Date": None, "Title": "The ablation"})


def _bars(axes: "Axes", rows: Sequence[dict], names: Sequence[str], group: str) -> None:
    width = 0.8 / len(ENCODERS)
    for index, encoder in enumerate(ENCODERS):
        values = [next(_by_encoder(rows, "scores", name, [encoder])) for name in names]
        places = [place + (index - (len(ENCODERS) - 1) / 2) * width for place in range(len(names))]
        means = [fmean(each) for each in values]
        ranges = [[mean - min(each) for mean, each in zip(means, values, strict=True)]]
        ranges += [[max(each) - mean for mean, each in zip(means, values, strict=True)]]
        axes.bar(places, means, width, yerr=ranges, color=LINES[index], ecolor="#555555", capsize=2, label=f"after {encoder}")
    axes.set_xticks(range(len(names)), [f"{name}, mean" if name == group else name for name in names])
    axes.spines[["top", "right"]].set_visible(False)


def _by_encoder(rows: Sequence[dict], part: str, name: str, encoders: Sequence[str] = ENCODERS) -> Iterator[list]:
    """The values of one name over seeds, for each encoder."""
    for encoder in encoders:
        yield [row[part][name] for row in rows if row["encoder"] == encoder]


def _spread(values: Sequence[float]) -> str:
    several = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{several}"


def _minutes(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):.1f}" if known else "not known"
