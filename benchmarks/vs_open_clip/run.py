"""What minutes of training teach: FineViT's Stages I and II beside open_clip's towers, on the same scenes and captions.

    python benchmarks/vs_open_clip/run.py --minutes 15 --seeds 0 1 2

Both are given the same wall-clock minutes of this machine, data loading included, evaluation and start-up apart. FineViT's
numbers of steps follow from ``tools/train.py --plan``, which measures the machine first; the minutes that it then really took are
in the table. The peer stops at the minute. Long-caption R@1 is the mean of both ways on 256 scenes that neither has seen.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import runs

STAGES = {stage: f"configs/finevit_tiny_{stage}.py" for stage in ("stage1", "stage2")}


def train(stage: str, folder: Path, minutes: float, arguments: argparse.Namespace, options: list[str]) -> dict:
    """One stage for so many minutes: its results, steps and measured minutes."""
    common = [f"randomness.seed={arguments.seed}", f"train_dataloader.dataset.source.level={arguments.level}"]
    common += [f"val_dataloader.dataset.source.level={arguments.level}", *options]
    steps = runs.steps_for(minutes, STAGES[stage], folder, common)
    results = runs.train(STAGES[stage], folder, steps=steps, options=common)["evaluations"][-1]
    seconds = json.loads((folder / "plan_check.json").read_text())["seconds"]["seen"]
    return {**results, "steps": steps, "minutes": seconds * steps / 60}


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
    runs.call("benchmarks/vs_open_clip/open_clip_towers.py", *options)
    return json.loads((folder / "result.json").read_text())


SIDES = {"finevit": ours, "open_clip": peer}


def main() -> None:
    """Run what was asked for, one after the other; print the table, write ``results.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--level", default="easy", choices=("easy", "medium", "hard"))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--stage1", type=float, default=0.2, help="share of FineViT's minutes that Stage I gets; 0 leaves it out")
    parser.add_argument("--work-dir", type=Path, default=runs.ROOT / "work_dirs/vs_open_clip")
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        arguments.seed = seed
        for side in arguments.sides:
            result = SIDES[side](arguments.work_dir.absolute() / f"{side}-{arguments.level}-{seed}", arguments)
            rows.append({"side": side, "level": arguments.level, "seed": seed, **result})
    (arguments.work_dir / "results.json").write_text(json.dumps({"machine": runs.machine(), "rows": rows}, indent=2))
    print(f"\n{'':12}{'seed':>6}{'minutes':>9}{'images':>9}{'R@1':>8}")
    for row in rows:
        print(f"{row['side']:12}{row['seed']:>6}{row['minutes']:>9.1f}{row['images']:>9,}{row['r1']:>8.3f}")


if __name__ == "__main__":
    main()
