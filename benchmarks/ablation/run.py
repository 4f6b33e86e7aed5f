"""The paper's ablation: encoders after Stage I, I + II and I + II + III, each kept frozen and read by parts that are tuned alike.

    python benchmarks/ablation/run.py --minutes1 3 --minutes2 12 --minutes3 30 --seeds 0 1 2
    python benchmarks/ablation/run.py --checkpoints stage1.pth stage2.pth stage3.pth

Of each checkpoint the encoder alone is taken. A connector and a language model answer questions about what it sees (caption,
grounding, OCR, counting), a new text tower meets it in one space (zero-shot, retrieval): so many steps each, on the same batches
for every encoder, scored on unseen scenes. The language model is one for all: it has learned the tasks before, from painted regions
in place of an encoder. What is finished holds a ``part.json``, and is not run again by the same command.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import runs
import torch
from ablation import show
from torch import Tensor

from finevit.engine.hooks.checkpoint_hook import write
from finevit.hub.weights import read_checkpoint, weights_of
from finevit.scenes import LEVELS

STAGES = (1, 2, 3)


def main() -> None:
    """Run what is not finished; after each seed, print the table and write ``results.json`` and ``ablation.svg``."""
    arguments = parse()
    rows: list[dict] = []
    language = prepared(arguments)
    for seed in arguments.seeds:
        folder, options = arguments.work_dir / f"seed{seed}", common(seed, arguments)
        checkpoints = given(seed, arguments) if arguments.checkpoints else trained(folder, options, arguments)
        for stage, (checkpoint, steps, minutes) in zip(STAGES, checkpoints, strict=True):
            row = {"encoder": show.ENCODERS[stage - 1], "seed": seed}
            rows.append(row | tuned(folder / f"encoder{stage}", checkpoint, language, options, arguments))
            rows[-1]["steps"]["encoder"], rows[-1]["minutes"]["encoder"] = steps, minutes
        report(rows, arguments)


def common(seed: int, arguments: argparse.Namespace) -> list[str]:
    """The settings of all parts of a seed."""
    levels = [f"{loader}.dataset.source.level={arguments.level}" for loader in ("train_dataloader", "val_dataloader")]
    return [f"randomness.seed={seed}", *levels, *arguments.cfg_options]


def prepared(arguments: argparse.Namespace) -> Path:
    """The checkpoint of the language model that starts to read every encoder, of every seed."""
    folder = arguments.work_dir / "llm"
    steps = part(folder, "benchmarks/ablation/llm.py", common(0, arguments), steps=arguments.steps_llm)["steps"]
    return folder / f"iter_{steps}.pth"


def given(seed: int, arguments: argparse.Namespace) -> Iterator[tuple[Path, None, None]]:
    """The checkpoints of the command line; what they cost is not known here."""
    for name in arguments.checkpoints:
        yield Path(name.format(seed=seed)).absolute(), None, None


def trained(folder: Path, options: Sequence[str], arguments: argparse.Namespace) -> Iterator[tuple[Path, int, float]]:
    """Trains each stage from the checkpoint of the one before: its checkpoint, its steps, and the minutes of all so far."""
    minutes, start = 0.0, list[str]()
    for stage in STAGES:
        place, length = folder / f"stage{stage}", {key: getattr(arguments, f"{key}{stage}") for key in ("steps", "minutes")}
        done = part(place, f"configs/finevit_tiny_stage{stage}.py", [*options, *start], **length)
        minutes, checkpoint = minutes + done["minutes"], place / f"iter_{done['steps']}.pth"
        yield checkpoint, done["steps"], minutes
        start = [f"load_from={checkpoint}"]


def tuned(folder: Path, checkpoint: Path, language: Path, options: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Tunes both readers on the encoder of a checkpoint: ``scores``, and by reader ``minutes``, ``steps``, ``metrics`` and more."""
    encoder = encoder_of(checkpoint)
    starts = {"language": {**others_of(language), **encoder}, "contrastive": encoder}
    lengths = {"language": arguments.steps_language, "contrastive": arguments.steps_contrastive}
    parts = {}
    for name, steps in lengths.items():
        start = keep(starts[name], folder / f"{name}.pth")
        parts[name] = part(
            folder / name,
            f"benchmarks/ablation/{name}.py",
            [*options, f"load_from={start}"],
            steps=steps,
            weights=digest(starts[name]),
        )
    by_key = {
        key: {name: done[key] for name, done in parts.items()} for key in ("minutes", "steps", "metrics", "protocols", "data")
    }
    return {"scores": show.scores({**by_key["metrics"]["language"], **by_key["metrics"]["contrastive"]}), **by_key}


def encoder_of(checkpoint: Path) -> dict[str, Tensor]:
    """The encoder's weights in a checkpoint, and nothing else of it."""
    remedy = "give a checkpoint of Stage I, II or III"
    weights = weights_of(read_checkpoint(checkpoint, setting="--checkpoints", remedy=remedy))
    encoder = {name: value for name, value in weights.items() if name.startswith("backbone.")}
    if not encoder:
        raise ValueError(f"--checkpoints: {str(checkpoint)!r} holds no encoder; {remedy}")
    return encoder


def others_of(checkpoint: Path) -> dict[str, Tensor]:
    """All weights of a checkpoint but the encoder's."""
    weights = weights_of(read_checkpoint(checkpoint, setting="--work-dir", remedy="remove the folder and run again"))
    return {name: value for name, value in weights.items() if not name.startswith("backbone.")}


def digest(weights: dict[str, Tensor]) -> str:
    """What tells weights from others."""
    found = blake2b(digest_size=8)
    for name in sorted(weights):
        found.update(name.encode())
        found.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def keep(weights: dict[str, Tensor], file: Path) -> Path:
    """Writes weights as a checkpoint."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write({"meta": {}, "state_dict": weights}, str(file))
    return file


def part(
    folder: Path, config: str, options: Sequence[str], *, steps: int | None, minutes: float | None = None, weights: str = ""
) -> dict[str, Any]:
    """One training with its evaluation, for so many steps or else minutes, unless it was done before from these ``weights``.

    ``minutes`` of the result are those of the clock, with planning, start and evaluation: what the part costs.
    """
    asked = {"config": config, "options": list(options), **({"steps": steps} if steps else {"minutes": minutes})}
    if weights:
        asked["weights"] = weights

    def run() -> dict:
        count = steps or runs.steps_for(minutes, config, folder, options)
        results = runs.train(config, folder, steps=count, options=options)
        found = {"metrics": results["evaluations"][-1], "protocols": results["protocols"], "data": results["data"]}
        return {"steps": count, **found}

    return runs.part(folder, asked, run)


def report(rows: list[dict], arguments: argparse.Namespace) -> None:
    """Prints the table; table, numbers and plot go into the work dir, and with ``--out`` the last two to be committed too."""
    folder, text = arguments.work_dir, show.table(rows)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("work_dir", "out")}
    runs.save(folder / "results.json", {"machine": runs.machine(), "settings": settings, "rows": rows})
    (folder / "table.md").write_text(text + "\n")
    show.plot(rows, folder / "ablation.svg")
    for name, suffix in (("results.json", "json"), ("ablation.svg", "svg")) if arguments.out else ():
        shutil.copy(folder / name, f"{arguments.out}.{suffix}")
    print(f"\n{text}\n\nwritten to {folder}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for stage, minutes in zip(STAGES, (3.0, 12.0, 30.0), strict=True):
        parser.add_argument(f"--minutes{stage}", type=float, default=minutes, help=f"of training in Stage {'I' * stage}")
        parser.add_argument(f"--steps{stage}", type=int, help="the same in steps")
    parser.add_argument("--checkpoints", nargs=3, help="of Stages I, II, III, trained before; {seed} in a name is the seed")
    parser.add_argument(
        "--steps-llm", type=int, default=1000, help="of teaching the language model the tasks, once for all encoders"
    )
    parser.add_argument(
        "--steps-language", type=int, default=600, help="of tuning a connector and that language model on each encoder"
    )
    parser.add_argument("--steps-contrastive", type=int, default=300, help="of tuning a text tower on each encoder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--level", default="signs", choices=list(LEVELS), help="of the embedded scenes")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="further settings of every part")
    parser.add_argument("--work-dir", type=Path, default=runs.ROOT / "work_dirs/ablation")
    parser.add_argument("--out", help="copies numbers and plot to OUT.json and OUT.svg, such as benchmarks/results/ablation_NAME")
    arguments = parser.parse_args()
    arguments.work_dir = arguments.work_dir.absolute()
    return arguments


if __name__ == "__main__":
    main()
