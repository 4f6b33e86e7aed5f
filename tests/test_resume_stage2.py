"""Stage II on several captioners' texts, killed and resumed: the same captions are drawn, the same weights come out."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_train import command, losses, train, weights

ROOT = Path(__file__).parents[1]
STEPS = 12
CONFIG = f"""
_base_ = ["{ROOT}/configs/finevit_tiny_stage2.py"]
model = dict(
    backbone=dict(_delete_=True, type="FineViT", arch=dict(depth=2, dim=32, heads=2, hidden=64), drop_path=0.2),
    text_encoder=dict(depth=1, dim=24, heads=1),
    head=dict(embed_dim=16),
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(transforms=[dict(type="PickCaption", weights=dict(qwen=5.0, human=3.0, alt=2.0)), *CUT]),
    batch_sampler=dict(resolution=dict(milestones=[(0, 56), (7, 84)]), patch_drop=dict(type="Constant", value=0.25)),
)
train_cfg = dict(max_iters={STEPS})
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=4))
"""
WORDS = ["red", "blue", "dog", "cat", "tree", "house", "sits", "stands", "above", "below", "near", "large", "small", "with"]


def prose(words: int, rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, words))


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """Thirty images, each with four captions of different lengths and one that is empty."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    entries = []
    for n in range(30):
        Image.fromarray(rng.integers(0, 256, (60 + n, 90, 3), dtype=np.uint8)).save(root / f"{n}.png")
        texts = {"qwen": prose(20 + n, rng), "human": prose(3 + n % 9, rng), "alt": [prose(12, rng), prose(15 + n % 4, rng), " "]}
        entries.append(json.dumps({"image": f"{n}.png", "captions": texts}))
    (root / "x.jsonl").write_text("\n".join(entries))
    path = root / "small.py"
    cut = '[dict(type=name) for name in ("ResizeToBudget", "Patchify", "DropPatches", "Tokenize")]'
    path.write_text(f"data_root = {str(root)!r}\n" + CONFIG.replace("*CUT", f"*{cut}"))
    return path


def drawn(work_dir: Path) -> dict[int, tuple[float, float]]:
    """Step -> tokens of a text and share of truncated ones: which captions the batch drew."""
    lines = [
        json.loads(line) for file in sorted(work_dir.glob("*/vis_data/scalars.json")) for line in file.read_text().splitlines()
    ]
    return {line["step"]: (line["text_tokens"], line["truncated_share"]) for line in lines if "text_tokens" in line}


@pytest.mark.slow
def test_a_killed_run_draws_the_same_captions_and_ends_with_the_same_weights(config, tmp_path):
    one_step = ["--cfg-options", "log_processor.window_size=1"]
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    output = train(config, whole, *one_step)
    process = subprocess.Popen(command(config, torn, *one_step), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 400
    while max(losses(torn), default=0) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 6 <= max(losses(torn)) < STEPS
    resumed = train(config, torn, "--resume", *one_step, "train_dataloader.num_workers=2")
    assert re.search(r"Resuming at iteration (4|8)", resumed)
    assert losses(torn) == losses(whole)
    assert drawn(torn) == drawn(whole)
    assert len(set(drawn(whole).values())) > STEPS // 2
    totals = [re.findall(rf"captions: {4 * STEPS} seen, {4 * STEPS} empty, 0 repeated.*", text) for text in (output, resumed)]
    assert totals[0] == totals[1] != []
    found, expected = weights(torn, STEPS), weights(whole, STEPS)
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
