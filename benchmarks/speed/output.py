"""What a benchmark found, for people and programs: a table, JSON, a plot; and what it was measured on."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

PACKAGES = ("torch", "torchvision", "timm", "transformers", "open_clip_torch", "onedl-mmpretrain", "opencv-python", "pillow")
MISSING = "-"


class Column(NamedTuple):
    """A column of the table: the row's key, what stands above, and how a value is written."""

    key: str
    title: str
    form: str = ""


class Panel(NamedTuple):
    """A part of the plot: one bar for each name."""

    title: str
    bars: Mapping[str, float]


class Result(NamedTuple):
    """What was found. ``rows`` go into the JSON whole, the benchmark's columns of them into the table."""

    settings: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    panels: Sequence[Panel]
    notes: Sequence[str] = ()


def machine(device: torch.device) -> dict[str, Any]:
    """What it was measured on. ``load`` is how many processes wanted a core just before: above 0, figures are disturbed."""
    found = {"device": device_name(device), "threads": torch.get_num_threads(), "cores": len(os.sched_getaffinity(0))}
    versions = {"python": platform.python_version(), **{name: number for name in PACKAGES if (number := _version(name))}}
    return {**found, "load": round(os.getloadavg()[0], 2), "command": " ".join(["python", *sys.argv]), "versions": versions}


def device_name(device: torch.device) -> str:
    """The name that its maker gave it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    """In Markdown, with columns aligned."""
    lines = [[column.title for column in columns]]
    lines += [[_cell(row.get(column.key), column.form) for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    numbers = [bool(column.form) for column in columns]
    rule = ["-" * (width - number) + ":" * number for width, number in zip(widths, numbers, strict=True)]
    lines.insert(1, rule)
    return "\n".join(f"| {' | '.join(_aligned(line, widths, numbers))} |" for line in lines)


def write(name: str, unit: str, result: Result, facts: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """``NAME.json`` and ``NAME.svg`` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    data, picture = folder / f"{name}.json", folder / f"{name}.svg"
    content = {"benchmark": name, "machine": facts, "settings": result.settings, "rows": result.rows, "notes": result.notes}
    data.write_text(json.dumps(content, indent=1) + "\n")
    plot(name, unit, result, facts, picture)
    return data, picture


def plot(name: str, unit: str, result: Result, facts: Mapping[str, Any], file: Path) -> None:
    """A panel of bars for each of the result's, side by side."""
    import matplotlib
    from matplotlib.figure import Figure

    from finevit.visualization.plots import LINES

    count = max(len(panel.bars) for panel in result.panels)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9}):
        figure = Figure(figsize=(3.4 * len(result.panels) + 1, 0.32 * count + 1.5), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(result.panels), squeeze=False)[0], result.panels, strict=True):
            colours = [LINES[1] if bar.startswith("finevit") else LINES[0] for bar in panel.bars]
            bars = axes.barh(list(panel.bars), list(panel.bars.values()), color=colours)
            axes.bar_label(bars, fmt="{:,.3g}", padding=2)
            axes.set(title=panel.title, xlabel=unit)
            axes.margins(x=0.18)
            axes.invert_yaxis()
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(f"{facts['device']}, {facts['threads']} threads, torch {facts['versions']['torch']}", fontsize=8)
        figure.savefig(file, format="svg", metadata={"Date": None, "Title": f"{name}: {facts['command']}"})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cell(value: Any, form: str) -> str:
    return MISSING if value is None else format(value, form)


def _aligned(line: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> list[str]:
    cells = zip(line, widths, numbers, strict=True)
    return [cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells]
