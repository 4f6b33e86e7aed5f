"""The recaption benchmark's table and plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

CAPTIONS = ("alt texts", "one captioner", "three captioners", "the truth")
MADE = CAPTIONS[1:3]
"""Those out of the pipeline, on which noise acts."""
SCORES = {"long R@1": "stage2/r1", "short R@1": "stage2/r1", "zero-shot": "stage2/scenes_top1"}


def scores(long: Mapping[str, float], short: Mapping[str, float]) -> dict[str, float]:
    """Of the evaluations on the truth's long and on its short captions."""
    return {name: (short if name.startswith("short") else long)[key] for name, key in SCORES.items()}


def _groups(rows: Sequence[dict]) -> dict[tuple[str, int], list[dict]]:
    """The rows of all seeds by captions and noise."""
    found: dict[tuple[str, int], list[dict]] = {}
    for row in rows:
        found.setdefault((row["captions"], row["noise"]), []).append(row)
    return found


def table(rows: Sequence[dict]) -> str:
    """In Markdown: means over seeds, and ranges."""
    lines = [f"| captions | noise | steps | {' | '.join(SCORES)} | minutes |", "|---" * (len(SCORES) + 4) + "|"]
    for (captions, noise), own in _groups(rows).items():
        told = [_spread([row["scores"][name] for row in own]) for name in SCORES]
        steps, minutes = (fmean(row[name] for row in own) for name in ("steps", "minutes"))
        lines.append(f"| {captions} | {noise} % | {steps:.0f} | {' | '.join(told)} | {minutes:.1f} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    several = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{several}"


def plot(rows: Sequence[dict], file: Path) -> None:
    """A panel for each score: over the noise, a line for each captions that noise acts on, a level for the others."""
    import matplotlib
    from matplotlib.figure import Figure

    from finevit.visualization.plots import LINES

    groups = _groups(rows)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "recaption", "font.size": 9}):
        figure = Figure(figsize=(9, 3), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(SCORES)), SCORES, strict=True):
            for index, captions in enumerate(CAPTIONS):
                values = {noise: [row["scores"][name] for row in own] for (of, noise), own in groups.items() if of == captions}
                if captions not in MADE and values:
                    axes.axhline(fmean(values[0]), color=LINES[index], linestyle="--", label=captions)
                elif values:
                    means = [fmean(each) for each in values.values()]
                    reach = [[m - min(v), max(v) - m] for m, v in zip(means, values.values(), strict=True)]
                    low, high = zip(*reach, strict=True)
                    axes.errorbar(list(values), means, (low, high), color=LINES[index], marker="o", capsize=2, label=captions)
            axes.set(title=name, xlabel="percent of facts that are wrong")
            axes.spines[["top", "right"]].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        figure.savefig(file, format="svg", metadata={"Date": None, "Title": "Do recaptions teach?"})
