"""What minutes of training teach: FineViT's Stages I and II beside open_clip's towers, on the same scenes and captions.

    python benchmarks/learning/run.py --minutes 15 --seeds 0 1 2

Both are given the same wall-clock minutes of this machine, data loading included, evaluation and start-up apart. FineViT's
numbers of steps follow from ``tools/train.py --plan``, which measures the machine first; the minutes that it then really took are
in the table. The peer stops at the minute. Long-caption R@1 is the mean of both ways on 256 scenes that neither has seen.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
LEAST = 4
"""Steps of a run, of which the first two tell nothing of its time."""
STAGES = {stage: f"configs/finevit_tiny_{stage}.py" for stage in ("stage1", "stage2")}


def train(stage: str, folder: Path, minutes: float, arguments: argparse.Namespace, options: list[str]) -> dict:
    """One stage for so many minutes: its results, steps and measured minutes."""
    common = [f"randomness.seed={arguments.seed}", f"train_dataloader.dataset.source.level={arguments.level}"]
    common += [f"val_dataloader.dataset.source.level={arguments.level}", *options]
    steps = steps_for(minutes, stage, folder, common)
    call("tools/train.py", STAGES[stage], "--work-dir", folder, "--cfg-options", f"train_cfg.max_iters={steps}", *common)
    results = json.loads((folder / "results.json").read_text())["evaluations"][-1]
    seconds = json.loads((folder / "plan_check.json").read_text())["seconds"]["seen"]
    return {**results, "steps": steps, "minutes": seconds * steps / 60}


def steps_for(minutes: float, stage: str, folder: Path, options: list[str], steps: int = 400) -> int:
    """The number of steps whose predicted time is ``minutes``; schedules stretch with the run, so that the two are proportional."""
    for _ in range(2):  # the second plan is the one that the run is compared with
        call(
            "tools/train.py",
            "--plan",
            STAGES[stage],
            "--work-dir",
            folder,
            "--cfg-options",
            f"train_cfg.max_iters={steps}",
            *options,
        )
        plan = json.loads((folder / "plan.json").read_text())
        found, steps = steps, max(LEAST, round(steps * 60 * minutes / plan["totals"]["seconds"]))
    return found


def ours(folder: Path, arguments: argparse.Namespace) -> dict:
    """Stage I for its share of the minutes, then Stage II from its checkpoint."""
    first, options = {}, []
    if arguments.stage1:
        first = train("stage1", folder / "stage1", arguments.minutes * arguments.stage1, arguments, [])
        options = [f"load_from={folder / 'stage1' / 'iter_{}.pth'.format(first['steps'])}"]
    second = train("stage2", folder / "stage2", arguments.minutes * (1 - arguments.stage1), arguments, options)
    minutes = first.get("minutes", 0.0) + second["minutes"]
    images = second["steps"] * json.loads((folder / "stage2/plan.json").read_text())["batch"]
    return {"r1": second["stage2/r1"], "minutes": minutes, "images": images, "stage1": first, "stage2": second}


def peer(folder: Path, arguments: argparse.Namespace) -> dict:
    """open_clip's towers."""
    folder.mkdir(parents=True, exist_ok=True)
    options = [
        "--minutes",
        arguments.minutes,
        "--level",
        arguments.level,
        "--seed",
        arguments.seed,
        "--out",
        folder / "result.json",
    ]
    call("benchmarks/learning/open_clip_towers.py", *options)
    return json.loads((folder / "result.json").read_text())


def call(*command: object) -> None:
    """Run one of the repository's programs; its output passes through."""
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True)


SIDES = {"finevit": ours, "open_clip": peer}


def main() -> None:
    """Run what was asked for, one after the other; print the table, write ``results.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--level", default="easy", choices=("easy", "medium", "hard"))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--stage1", type=float, default=0.2, help="share of FineViT's minutes that Stage I gets; 0 leaves it out")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/learning")
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        arguments.seed = seed
        for side in arguments.sides:
            result = SIDES[side](arguments.work_dir.absolute() / f"{side}-{arguments.level}-{seed}", arguments)
            rows.append({"side": side, "level": arguments.level, "seed": seed, **result})
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    (arguments.work_dir / "results.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))
    print(f"\n{'':12}{'seed':>6}{'minutes':>9}{'images':>9}{'R@1':>8}")
    for row in rows:
        print(f"{row['side']:12}{row['seed']:>6}{row['minutes']:>9.1f}{row['images']:>9,}{row['r1']:>8.3f}")


if __name__ == "__main__":
    main()
