"""What a checkpoint is worth to a detector and a segmenter: tiny twins trained from it and from random weights, the same minutes.

    python benchmarks/downstream/run.py --checkpoint work_dirs/finevit_tiny_stage2/iter_763.pth --minutes 30 --seeds 0 1 2

Without ``--checkpoint`` the tiny Stages I and II are trained first (3 and 12 minutes). Scored on unseen embedded scenes: AP50 of
boxes and of masks, mean IoU. What is finished holds a ``part.json``, and is not run again by the same command.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import runs

TASKS = {
    "mask_rcnn_finevit_tiny_scenes": ("coco/bbox_mAP_50", "coco/segm_mAP_50"),
    "upernet_finevit_tiny_scenes": ("mIoU",),
}
PROBE_STEPS = 12
"""Steps that are timed to tell how many fit into the minutes."""


def main() -> None:
    """Run what is not finished, and print the table after each seed."""
    arguments = parse()
    folder, rows = arguments.work_dir, list[dict]()
    runs.call("tools/write_scenes.py", runs.ROOT / "work_dirs/scenes")
    for seed in arguments.seeds:
        checkpoint = arguments.checkpoint or pretrained(folder / f"seed{seed}", seed)
        for task in arguments.tasks:
            steps = arguments.steps or steps_for(arguments.minutes, task, folder / "timing" / task)
            for start, file in (("random", None), ("checkpoint", checkpoint)):
                rows.append(part(folder / f"seed{seed}" / f"{task}-{start}", task, start, file, seed, steps))
        report(rows, arguments)


def pretrained(folder: Path, seed: int) -> Path:
    """A Stage II checkpoint of this seed."""
    start: list[str] = []
    for stage, minutes in ((1, 3.0), (2, 12.0)):
        place, config = folder / f"stage{stage}", f"configs/finevit_tiny_stage{stage}.py"
        options = [f"randomness.seed={seed}", *start]
        done = place / "results.json"
        if not done.exists():
            runs.train(config, place, steps=runs.steps_for(minutes, config, place, options), options=options)
        checkpoint = max(place.glob("iter_*.pth"), key=lambda file: file.stat().st_mtime)
        start = [f"load_from={checkpoint}"]
    return checkpoint


def steps_for(minutes: float, task: str, folder: Path) -> int:
    """How many steps fit, from a few timed ones; the same for all runs of a task."""
    note = folder / "seconds.json"
    if not note.exists():
        train(task, folder, [f"train_cfg.max_iters={PROBE_STEPS}", *without_validation()])
        seconds = [line["time"] for line in scalars(folder) if "loss" in line]
        note.write_text(json.dumps(seconds[-1]))
    return max(PROBE_STEPS, round(60 * minutes / json.loads(note.read_text())))


def without_validation() -> list[str]:
    """Options that leave the evaluation out, and log every few steps."""
    return [*(f"{name}=None" for name in ("val_dataloader", "val_cfg", "val_evaluator")), "default_hooks.logger.interval=6"]


def part(folder: Path, task: str, start: str, checkpoint: Path | None, seed: int, steps: int) -> dict:
    """One training with its evaluation, unless it was done before."""
    asked = {"task": task, "start": start, "seed": seed, "steps": steps}
    note = folder / "part.json"
    if note.exists() and json.loads(note.read_text())["asked"] == asked:
        return json.loads(note.read_text())
    begin = time.monotonic()
    loaded = [f"model.backbone.init_cfg.checkpoint={checkpoint}"] if checkpoint else []
    train(task, folder, [f"train_cfg.max_iters={steps}", f"randomness.seed={seed}", *loaded])
    last = scalars(folder)[-1]
    done = {"asked": asked, "minutes": (time.monotonic() - begin) / 60, "scores": {key: last[key] for key in TASKS[task]}}
    note.write_text(json.dumps(done, indent=1) + "\n")
    return done


def train(task: str, folder: Path, options: list[str]) -> None:
    """The config of a task with options."""
    runs.call("tools/train.py", f"configs/downstream/{task}.py", "--work-dir", folder, "--cfg-options", *options)


def scalars(folder: Path) -> list[dict]:
    """What the newest run in a work dir has logged."""
    newest = max(folder.glob("*/vis_data/scalars.json"), key=lambda file: file.stat().st_mtime)
    return [json.loads(line) for line in newest.read_text().splitlines()]


def report(rows: list[dict], arguments: argparse.Namespace) -> None:
    """Prints the table, and writes it with the numbers."""
    lines = ["| task | score | random | checkpoint | gain | seeds |", "|---|---|---|---|---|---|"]
    for task in arguments.tasks:
        for key in TASKS[task]:
            random, trained = (scores(rows, task, start, key) for start in ("random", "checkpoint"))
            cells = task.split("_finevit")[0], key, f"{random:.3f}", f"{trained:.3f}", f"{trained - random:+.3f}"
            lines.append(f"| {' | '.join(cells)} | {len({row['asked']['seed'] for row in rows})} |")
    settings = {key: str(value) for key, value in vars(arguments).items() if key not in ("work_dir", "out", "checkpoint")}
    content = json.dumps({"machine": runs.machine(), "settings": settings, "rows": rows}, indent=1) + "\n"
    for file in (arguments.work_dir / "results.json", *([arguments.out] if arguments.out else [])):
        file.write_text(content)
    print("\n".join(["", *lines, "", f"written to {arguments.work_dir / 'results.json'}"]))


def scores(rows: list[dict], task: str, start: str, key: str) -> float:
    """The mean over seeds; mmseg counts in percent."""
    found = [row["scores"][key] for row in rows if (row["asked"]["task"], row["asked"]["start"]) == (task, start)]
    return mean(found) / (100 if key == "mIoU" else 1)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="of any tiny stage; one for all seeds")
    parser.add_argument("--minutes", type=float, default=25.0, help="of training for each task and start; evaluation comes on top")
    parser.add_argument("--steps", type=int, help="the same in steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--work-dir", type=Path, default=runs.ROOT / "work_dirs/downstream")
    parser.add_argument("--out", type=Path, help="copies the numbers, such as to benchmarks/results/downstream_NAME.json")
    arguments = parser.parse_args()
    arguments.work_dir = arguments.work_dir.absolute()
    arguments.checkpoint = arguments.checkpoint and arguments.checkpoint.absolute()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    main()
