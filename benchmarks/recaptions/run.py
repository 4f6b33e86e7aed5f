"""Do recaptions teach? Stage II on alt texts, on one captioner's recaptions, on three captioners', and on the truth's captions.

    python benchmarks/recaptions/run.py --steps 300 --seeds 0 1 2
    python benchmarks/recaptions/run.py --steps 300 --seeds 0 --search

The captioners are stand-ins, which answer from the truth with words of their own; their captions come out of ``finevit recaption``,
with 0, 10 and 30 percent of the facts wrong. All start from one Stage I, see the same images, and cost the FLOPs of the truth's
``--steps``. What is scored is the truth's: long and short captions of unseen scenes (R@1), and the class of the largest object.
``--search`` trains alt texts and recaptions with several learning rates and text lengths instead. What is finished holds a
``part.json``, and is not run again by the same command.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import runs
from recaptions import show

from finevit.recaption import prompts

STAGE1, STAGE2 = "configs/finevit_tiny_stage1.py", "benchmarks/recaptions/stage2.py"
PROMPTS = {"dense": prompts.DENSE, "short": prompts.SHORT, "subject": "Name the main subject of this image in at most five words."}
SHARES = (0.7, 0.2, 0.1)
"""How often the caption of each prompt is drawn."""
SHORT = 0.2
"""Share of short captions beside long ones, of the truth."""
LENGTH = "train_dataloader.batch_sampler.schedules.Tokenize.max_seq_len"
LENGTHS = {"48-80-128": [], "128": [f"{LENGTH}.milestones=[(0.0,128)]"]}
"""Most tokens of a text: as the configuration has it, and without a schedule."""
IDS = 2048
"""Of the tokenizer."""
RATES = (1.5e-3, 3e-3, 6e-3)


def main() -> None:
    """Run what is not finished; after each seed, print the table and write ``results.json`` and ``recaption.svg``."""
    arguments = parse()
    start = stage1(arguments)
    datasets = {noise: recaptioned(noise, arguments) for noise in arguments.noise}
    arguments.cfg_options.append(f"model.text_encoder.tokenizer={tokenizer(datasets[0], arguments)}")
    rows: list[dict] = []
    for seed in arguments.seeds:
        rows += search(start, datasets[0], seed, arguments) if arguments.search else compare(start, datasets, seed, arguments)
        report(rows, arguments)


def stage1(arguments: argparse.Namespace) -> Path:
    """The checkpoint that all start from."""
    folder, options = arguments.work_dir / "stage1", ["randomness.seed=0"]
    asked = {"config": STAGE1, "options": options, "steps": arguments.steps1}
    runs.part(folder, asked, lambda: {"scores": runs.train(STAGE1, folder, steps=arguments.steps1, options=options)["evaluations"]})
    return folder / f"iter_{arguments.steps1}.pth"


def recaptioned(noise: int, arguments: argparse.Namespace) -> Path:
    """The dataset of a run of the pipeline, with so many percent of the facts wrong."""
    folder = arguments.work_dir / f"noise{noise}"
    config = folder / "pipeline.py"

    def run() -> dict:
        folder.mkdir(parents=True, exist_ok=True)
        config.write_text(pipeline(noise, arguments.images))
        runs.call("tools/recaption.py", config, "--work-dir", folder / "run")
        return {"counts": json.loads((folder / "run/dataset/manifest.json").read_text())["counts"]}

    runs.part(folder, {"noise": noise, "images": arguments.images}, run)
    return folder / "run/dataset"


def tokenizer(dataset: Path, arguments: argparse.Namespace) -> Path:
    """The tokenizer of all, drawn from all captions alike, so that nobody's words are spelt in more pieces than others'."""
    folder = arguments.work_dir / "tokenizer"

    def run() -> dict:
        runs.call("tools/train_tokenizer.py", "--data-root", dataset, "--size", IDS, "--out", folder / "ids")
        return {"size": IDS}

    runs.part(folder, {"images": arguments.images, "ids": IDS}, run)
    return folder / "ids"


def pipeline(noise: int, images: int) -> str:
    """The config of a run of the pipeline."""
    command = ["{python}", "-m", "finevit", "stand-in", "--port", "{port}", "--length", str(images), "--noise", str(noise / 100)]
    captions = {
        "captioners": {letter: {"revision": f"noise-{noise}"} for letter in "abc"},
        "prompts": PROMPTS,
    }
    return "\n".join(
        [
            f"_base_ = [{str(runs.ROOT / 'benchmarks/recaptions/pipeline.py')!r}]",
            f"source = {{'length': {images}}}",
            f"services = {{'stand_in': {{'command': {command!r}}}}}",
            f"passes = {{'captions': {captions!r}}}\n",
        ]
    )


def weights(captions: str, noise: int) -> dict[str, float]:
    """How often each caption is drawn: ``-2`` is a captioner's second text, that of the second prompt."""
    if captions == "alt texts":
        return {"alt": 1.0}
    if captions == "the truth":
        return {"truth": 1 - SHORT, "truth-short": SHORT}
    names = [f"stand-in-{letter}@noise-{noise}" for letter in ("abc" if captions == "three captioners" else "a")]
    return {f"{name}{number}": share for name in names for number, share in zip(("", "-2", "-3"), SHARES, strict=True)}


def compare(start: Path, datasets: dict[int, Path], seed: int, arguments: argparse.Namespace) -> list[dict]:
    """All captions at all noises, where noise acts."""
    rows = []
    for captions in show.CAPTIONS:
        for noise in arguments.noise if captions in show.MADE else arguments.noise[:1]:
            folder = arguments.work_dir / f"seed{seed}" / f"{captions.replace(' ', '_')}{noise}"
            own = [f"randomness.seed={seed}", f"load_from={start}", *arguments.cfg_options]
            own += arguments.alt_options if captions == "alt texts" else []
            rows.append({"captions": captions, "noise": noise, "seed": seed})
            rows[-1] |= trained(folder, captions, noise, datasets[noise], own, arguments)
    return rows


def search(start: Path, dataset: Path, seed: int, arguments: argparse.Namespace) -> list[dict]:
    """Alt texts and one captioner's recaptions with each rate and each length."""
    rows = []
    for captions in ("alt texts", "one captioner"):
        for rate in RATES:
            for length, options in LENGTHS.items():
                folder = arguments.work_dir / "search" / f"seed{seed}" / f"{captions.replace(' ', '_')}-{rate}-{length}"
                own = [f"randomness.seed={seed}", f"load_from={start}", *arguments.cfg_options, *options]
                own.append(f"optim_wrapper.optimizer.lr={rate}")
                rows.append({"captions": f"{captions}, rate {rate:g}, {length} tokens", "noise": 0, "seed": seed})
                rows[-1] |= trained(folder, captions, 0, dataset, own, arguments)
    return rows


def trained(
    folder: Path, captions: str, noise: int, dataset: Path, options: Sequence[str], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Trains on some captions for the FLOPs of the truth's steps: scores, steps and minutes."""
    drawn = [f"train_dataloader.dataset.transforms.0.weights.{name}={share:g}" for name, share in weights(captions, noise).items()]
    options = [*options, *drawn, f"train_dataloader.dataset.source.data_root={dataset}"]

    def run() -> dict:
        steps = arguments.steps
        if captions != "the truth":
            steps = runs.steps_of("flops", budget(dataset, arguments), STAGE2, folder, options, steps)
        found = runs.train(STAGE2, folder, steps=steps, options=options)
        checkpoint = folder / f"iter_{steps}.pth"
        names = [f"val_dataloader.dataset.source.captioners.{name}" for name in ("long=0", "short=1")]
        runs.call("tools/test.py", STAGE2, checkpoint, "--work-dir", folder / "short", "--cfg-options", *names, *options)
        short = json.loads((folder / "short/results.json").read_text())
        scores = show.scores(found["evaluations"][-1], short["benchmarks"]["val"]["metrics"])
        checkpoint.unlink()
        return {"steps": steps, "scores": scores, "protocols": found["protocols"]}

    return runs.part(folder, {"options": options, "steps": arguments.steps}, run)


def budget(dataset: Path, arguments: argparse.Namespace) -> float:
    """The planned FLOPs of the truth's steps."""
    folder = arguments.work_dir / "budget"

    def run() -> dict:
        drawn = [
            f"train_dataloader.dataset.transforms.0.weights.{name}={share:g}" for name, share in weights("the truth", 0).items()
        ]
        settings = [f"train_cfg.max_iters={arguments.steps}", *drawn, *arguments.cfg_options]
        settings.append(f"train_dataloader.dataset.source.data_root={dataset}")
        runs.call("tools/train.py", "--plan", STAGE2, "--work-dir", folder, "--cfg-options", *settings)
        return {"flops": json.loads((folder / "plan.json").read_text())["totals"]["flops"]}

    return runs.part(folder, {"steps": arguments.steps, "images": arguments.images}, run)["flops"]


def report(rows: list[dict], arguments: argparse.Namespace) -> None:
    """Prints the table; numbers and plot go into the work dir, and with ``--out`` where they are committed too."""
    settings = {key: value for key, value in vars(arguments).items() if key not in ("work_dir", "out")}
    name = "search" if arguments.search else "results"
    kept = [{key: value for key, value in row.items() if key != "asked"} for row in rows]
    runs.save(arguments.work_dir / f"{name}.json", {"machine": runs.machine(), "settings": settings, "rows": kept})
    copies = [(f"{name}.json", "json")]
    if not arguments.search:
        show.plot(rows, arguments.work_dir / "recaption.svg")
        copies.append(("recaption.svg", "svg"))
    for file, suffix in copies if arguments.out else ():
        shutil.copy(arguments.work_dir / file, f"{arguments.out}.{suffix}")
    print(f"\n{show.table(rows)}\n\nwritten to {arguments.work_dir}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000, help="scenes to train with")
    parser.add_argument("--steps1", type=int, default=150, help="of the Stage I that all start from")
    parser.add_argument(
        "--steps", type=int, default=300, help="of Stage II on the truth's captions; the others cost the same FLOPs"
    )
    parser.add_argument("--noise", type=int, nargs="+", default=[0, 10, 30], help="percent of facts that are wrong; the first is 0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--search", action="store_true", help="rates and lengths instead, without noise")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="further settings of every Stage II")
    parser.add_argument("--alt-options", nargs="+", default=[], metavar="KEY=VALUE", help="further settings of that on alt texts")
    parser.add_argument("--work-dir", type=Path, default=runs.ROOT / "work_dirs/recaption_benchmark")
    parser.add_argument("--out", help="copies numbers and plot to OUT.json and OUT.svg, such as benchmarks/results/recaption_NAME")
    arguments = parser.parse_args()
    arguments.work_dir = arguments.work_dir.absolute()
    arguments.noise = [0] if arguments.search else arguments.noise
    return arguments


if __name__ == "__main__":
    main()
