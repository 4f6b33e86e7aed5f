"""What makes training cheaper, at equal FLOPs: curves of what is learned over what it has cost.

    python benchmarks/equal_flops/run.py --minutes1 1 --minutes2 2 --seeds 0 1 2

The recipe of each stage trains for its minutes, as ``tools/train.py --plan`` predicts them; each other variant for as many steps as
cost the same planned FLOPs, teacher and text tower included. Stage II starts from one Stage I checkpoint (``--load-from``, or the
recipe's of this run and seed). Scores are those of 256 unseen scenes. What is finished is not run again by the same command.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import runs

from finevit.planning.plan import Plan

BATCHES = "train_dataloader.batch_sampler"
SHARE = f"{BATCHES}.schedules.DropPatches.ratio"
DROP = [f"{SHARE}.type=Milestones", f"{SHARE}.milestones=[(0.0,0.5),(0.6,0.0)]"]
FULL = [f"{BATCHES}.resolution.milestones=[(0.0,112)]"]


@dataclass(frozen=True)
class Stage:
    """A stage's config, what is scored, and its variants: name -> settings; the first is the recipe."""

    config: str
    metric: str
    label: str
    variants: dict[str, list[str]]


STAGES = {
    1: Stage(
        "configs/finevit_tiny_stage1.py",
        "stage1/probe",
        "linear probe of patches",
        {
            "masked patches replaced": [],
            "masked patches left out": ["model.drop_masked=True"],
            "no masked copy": ["model.mask_ratio=[0.0]"],
        },
    ),
    2: Stage(
        "configs/finevit_tiny_stage2.py",
        "stage2/r1",
        "long-caption R@1",
        {
            "84² until 0.6, then 112²": [],
            "112² from the start": FULL,
            "112², half of the patches left out until 0.6": [*FULL, *DROP],
            "84² until 0.6, half of the patches left out": DROP,
        },
    ),
}


def main() -> None:
    """Run what is not finished; after each seed, print the table and write ``results.json`` and ``equal_flops.svg``."""
    arguments = parse()
    rows: list[dict] = []
    for seed in arguments.seeds:
        start = arguments.load_from
        for number in arguments.stages:
            options = [f"randomness.seed={seed}", *([f"load_from={start}"] if number == 2 and start else [])]
            folder = arguments.work_dir / f"seed{seed}" / f"stage{number}"
            found = curves(STAGES[number], folder, getattr(arguments, f"minutes{number}"), options, arguments.points)
            rows += [{"stage": number, "seed": seed, **row} for row in found]
            if number == 1 and not arguments.load_from:
                start = folder / "0" / f"iter_{found[0]['steps']}.pth"
        report(rows, arguments)


def curves(stage: Stage, folder: Path, minutes: float, options: Sequence[str], points: int) -> list[dict]:
    """Trains every variant of a stage for the FLOPs that the recipe costs in ``minutes``: its name, steps and curve."""
    rows: list[dict] = []
    for index, (name, own) in enumerate(stage.variants.items()):
        place, settings = folder / str(index), [*options, *own]
        cost = rows[0]["flops"][-1] if rows else None
        asked = {"config": stage.config, "options": settings, "points": points, "minutes": minutes, "cost": cost}

        def run(place: Path = place, settings: Sequence[str] = settings, cost: float | None = cost) -> dict:
            total, amount = ("flops", cost) if cost else ("seconds", 60 * minutes)
            steps = runs.steps_of(total, amount, stage.config, place, settings)
            spent = np.cumsum(Plan.load(place).at("flops", np.arange(steps)))
            interval = f"train_cfg.val_interval={-(-steps // points)}"
            results = runs.train(stage.config, place, steps=steps, options=[*settings, interval])
            values = {each["iteration"]: each[stage.metric] for each in results["evaluations"]}
            costs = [float(spent[step - 1]) if step else 0.0 for step in values]
            return {"steps": steps, "flops": costs, "values": list(values.values()), "protocols": results["protocols"]}

        done = runs.part(place, asked, run)
        rows.append({"variant": name, **{key: value for key, value in done.items() if key != "asked"}})
    return rows


def report(rows: Sequence[dict], arguments: argparse.Namespace) -> None:
    """Prints the table; numbers and plot go into the work dir, and with ``--out`` where they are committed too."""
    settings = {key: value for key, value in vars(arguments).items() if key not in ("work_dir", "out", "load_from")}
    runs.save(arguments.work_dir / "results.json", {"machine": runs.machine(), "settings": settings, "rows": list(rows)})
    plot(rows, arguments.work_dir / "equal_flops.svg")
    for name in ("results.json", "equal_flops.svg") if arguments.out else ():
        shutil.copy(arguments.work_dir / name, f"{arguments.out}{Path(name).suffix}")
    print(f"\n{table(rows)}\n\nwritten to {arguments.work_dir}")


def table(rows: Sequence[dict]) -> str:
    """In Markdown: of each variant the steps, the FLOPs and the last score, means over seeds, with the range of the score."""
    lines = ["| | steps | PFLOPs | score |", "| --- | --- | --- | --- |"]
    for number, name in dict.fromkeys((row["stage"], row["variant"]) for row in rows):
        own = [row for row in rows if (row["stage"], row["variant"]) == (number, name)]
        last = [row["values"][-1] for row in own]
        spread = f" ({min(last):.3f} to {max(last):.3f})" if len(last) > 1 else ""
        cost = fmean(row["flops"][-1] for row in own) / 1e15
        lines.append(
            f"| Stage {'I' * number}: {name} | {fmean(r['steps'] for r in own):.0f} | {cost:.3f} | {fmean(last):.3f}{spread} |"
        )
    return "\n".join(lines)


def plot(rows: Sequence[dict], file: Path) -> None:
    """A panel for each stage: the score over the FLOPs, a line for each variant and seed, a colour for each variant."""
    import matplotlib
    from matplotlib.figure import Figure

    from finevit.visualization.plots import LINES

    numbers = list(dict.fromkeys(row["stage"] for row in rows))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "equal_flops", "font.size": 9}):
        figure = Figure(figsize=(4.6 * len(numbers), 3.2), layout="constrained")
        for axes, number in zip(figure.subplots(1, len(numbers), squeeze=False)[0], numbers, strict=True):
            for index, name in enumerate(STAGES[number].variants):
                own = [row for row in rows if (row["stage"], row["variant"]) == (number, name)]
                for seed, row in enumerate(own):
                    label = name if seed == 0 else None
                    flops = np.asarray(row["flops"]) / 1e15
                    axes.plot(flops, row["values"], color=LINES[index], linewidth=1.5, marker="o", markersize=3, label=label)
            axes.set(title=f"Stage {'I' * number}", xlabel="PFLOPs of training", ylabel=STAGES[number].label)
            axes.legend(frameon=False, fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(file, format="svg", metadata={"Date": None, "Title": "What makes training cheaper"})


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes1", type=float, default=1.0, help="of the recipe of Stage I")
    parser.add_argument("--minutes2", type=float, default=2.0, help="of the recipe of Stage II")
    parser.add_argument("--stages", type=int, nargs="+", default=[1, 2], choices=list(STAGES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--points", type=int, default=5, help="of each curve, without the one before training")
    parser.add_argument("--load-from", type=Path, help="the Stage I checkpoint that every Stage II starts from")
    parser.add_argument("--work-dir", type=Path, default=runs.ROOT / "work_dirs/equal_flops")
    parser.add_argument(
        "--out", help="copies numbers and plot to OUT.json and OUT.svg, such as benchmarks/results/equal_flops_NAME"
    )
    arguments = parser.parse_args()
    arguments.work_dir, arguments.stages = arguments.work_dir.absolute(), sorted(set(arguments.stages))
    arguments.load_from = arguments.load_from and arguments.load_from.absolute()
    return arguments


if __name__ == "__main__":
    main()
