"""What a checkpoint is worth to a detector and a segmenter: tiny twins trained from it and from random weights, the same steps.

    python benchmarks/downstream/run.py --checkpoint work_dirs/finevit_tiny_stage2/iter_763.pth --seeds 0 1 2

Without ``--checkpoint`` the tiny Stages I and II are trained first (3 and 12 minutes). Scored on unseen embedded scenes: AP50 of
boxes and of masks, mean IoU. What is finished holds a ``part.json``, and is not run again by the same command.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import runs

SCORES = {
    "mask_rcnn_finevit_tiny_scenes": ("coco/bbox_mAP_50", "coco/segm_mAP_50"),
    "upernet_finevit_tiny_scenes": ("mIoU",),
}


def main() -> None:
    """Run what is not finished, and print the table after each seed."""
    arguments = parse()
    folder, rows = arguments.work_dir, list[dict]()
    runs.call("tools/write_scenes.py", runs.ROOT / "work_dirs/scenes")
    for seed in arguments.seeds:
        checkpoint = arguments.checkpoint or pretrained(folder / f"seed{seed}", seed)
        for task in arguments.tasks:
            for start, file in (("checkpoint", checkpoint), ("random", None)):
                asked = {"task": task, "start": start, "checkpoint": file and str(file), "seed": seed, "steps": arguments.steps}
                place = folder / f"seed{seed}" / f"{task}-{start}"
                rows.append(runs.part(place, asked, partial(trained, place, task, file, seed, arguments.steps)))
        report(rows, arguments)


def pretrained(folder: Path, seed: int) -> Path:
    """A Stage II checkpoint of this seed."""
    start: list[str] = []
    for stage, minutes in ((1, 3.0), (2, 12.0)):
        place, config = folder / f"stage{stage}", f"configs/finevit_tiny_stage{stage}.py"
        options = [f"randomness.seed={seed}", *start]
        runs.part(place, {"config": config, "options": options}, partial(stage_for, minutes, config, place, options))
        checkpoint = max(place.glob("iter_*.pth"), key=lambda file: file.stat().st_mtime)
        start = [f"load_from={checkpoint}"]
    return checkpoint


def stage_for(minutes: float, config: str, folder: Path, options: list[str]) -> dict:
    """One stage, so many minutes."""
    steps = runs.steps_for(minutes, config, folder, options)
    runs.train(config, folder, steps=steps, options=options)
    return {"steps": steps}


def trained(folder: Path, task: str, checkpoint: Path | None, seed: int, steps: int | None) -> dict:
    """The scores of one training, for so many steps or else the config's own."""
    options = [f"randomness.seed={seed}"]
    options += [f"model.backbone.init_cfg.checkpoint={checkpoint}"] if checkpoint else []
    options += [f"train_cfg.max_iters={steps}"] if steps else []
    runs.call("tools/train.py", f"configs/downstream/{task}.py", "--work-dir", folder, "--cfg-options", *options)
    last = scalars(folder)[-1]
    return {"scores": {key: last[key] for key in SCORES[task]}}


def scalars(folder: Path) -> list[dict]:
    """What the newest run in a work dir has logged."""
    newest = max(folder.glob("*/vis_data/scalars.json"), key=lambda file: file.stat().st_mtime)
    return [json.loads(line) for line in newest.read_text().splitlines()]


def report(rows: list[dict], arguments: argparse.Namespace) -> None:
    """Prints the table, and writes it with the numbers."""
    lines = ["| task | score | random | checkpoint | gain | seeds |", "|---|---|---|---|---|---|"]
    for task in arguments.tasks:
        for key in SCORES[task]:
            random, trained = (scores(rows, task, start, key) for start in ("random", "checkpoint"))
            cells = task.split("_finevit")[0], key, f"{random:.3f}", f"{trained:.3f}", f"{trained - random:+.3f}"
            lines.append(f"| {' | '.join(cells)} | {len({row['asked']['seed'] for row in rows})} |")
    settings = {key: str(value) for key, value in vars(arguments).items() if key not in ("work_dir", "out", "checkpoint")}
    told = [row | {"asked": {key: value for key, value in row["asked"].items() if key != "checkpoint"}} for row in rows]
    for file in (arguments.work_dir / "results.json", *([arguments.out] if arguments.out else [])):
        runs.save(file, {"machine": runs.machine(), "settings": settings, "rows": told})
    print("\n".join(["", *lines, "", f"written to {arguments.work_dir / 'results.json'}"]))


def scores(rows: list[dict], task: str, start: str, key: str) -> float:
    """The mean over seeds; mmseg counts in percent."""
    found = [row["scores"][key] for row in rows if (row["asked"]["task"], row["asked"]["start"]) == (task, start)]
    return mean(found) / (100 if key == "mIoU" else 1)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="of any tiny stage; one for all seeds")
    parser.add_argument("--steps", type=int, help="of each training; without it, the config's own")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", nargs="+", choices=SCORES, default=list(SCORES))
    parser.add_argument("--work-dir", type=Path, default=runs.ROOT / "work_dirs/downstream")
    parser.add_argument("--out", type=Path, help="copies the numbers, such as to benchmarks/results/downstream_NAME.json")
    arguments = parser.parse_args()
    arguments.work_dir = arguments.work_dir.absolute()
    arguments.checkpoint = arguments.checkpoint and arguments.checkpoint.absolute()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    main()
