"""Another language model is one line of config: the plain one, other classes of Hugging Face, SmolLM2, a stranger's package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = (
    "train_cfg.max_iters=2",
    "train_dataloader.batch_size=2",
    "train_dataloader.num_workers=0",
    "val_dataloader.dataset.source.length=2",
    "val_dataloader.dataset.pixels=3136",
    "train_dataloader.batch_sampler.resolution.side=56",
    "default_hooks.logger.interval=1",
    "model.answer_length=8",
)


def train(folder: Path, *options: str, path: Path | None = None) -> dict:
    """Trains the tiny Stage III; gives what its ``results.json`` and its log say."""
    command = [sys.executable, "tools/train.py", "configs/finevit_tiny_stage3.py", "--work-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(path or "")}
    done = subprocess.run([*command, "--cfg-options", *SMALL, *options], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in next(folder.rglob("vis_data/scalars.json")).read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    return {"losses": losses, "log": done.stderr + done.stdout, **json.loads((folder / "results.json").read_text())}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["model.llm.type=PlainLLM"], "language model: plain decoder, 4 blocks of width 256"),
        (
            ["model.llm.config.model_type=qwen3", "model.llm.config.head_dim=64"],
            "language model: Qwen3ForCausalLM from a qwen3 config",
        ),
        (["model.llm.train=lora"], "lora, up to"),
    ],
)
def test_one_line_swaps_the_llm(tmp_path, options, said):
    found = train(tmp_path / "run", *options)
    assert said in found["log"]
    assert "dialogues: 4 images, " in found["log"]
    assert len(found["losses"]) == 2
    assert all(5 < loss < 9 for loss in found["losses"])  # ln 1,024 is 6.9
    assert [entry["iteration"] for entry in found["evaluations"]] == [0, 2]
    assert (tmp_path / "run/report.html").exists()


@pytest.mark.slow
def test_smollm2_with_its_real_weights_trains_and_answers(tmp_path):
    """One line, and its own tokenizer and chat template come with it; five steps of the same images, and its loss falls."""
    options = ["model.llm.model=smollm2-135m", "train_cfg.max_iters=5"]
    found = train(
        tmp_path / "run",
        *options,
        "optim_wrapper.optimizer.type=AdamW",  # at a rate for fine-tuning, from the first step to the last
        "optim_wrapper.optimizer.lr=1e-4",
        "param_scheduler.0.start_factor=1.0",
        "train_dataloader.batch_size=8",
        "train_dataloader.dataset.source.length=8",
        "train_dataloader.dataset.transforms.1.style=norm1000",  # as it has seen numbers written
        "val_dataloader.dataset.source.length=1",
    )
    assert "LlamaForCausalLM from smollm2-135m, 134.5 M parameters" in found["log"]
    assert len(found["losses"]) == 5
    assert found["losses"][0] < 7  # chance is ln 49,152 = 10.8
    assert found["losses"][-1] < found["losses"][0] - 1
    assert found["evaluations"][-1]["stage3/counting_n"] >= 1


ACME = '''
import torch
from torch import nn

from finevit.hub.chat_templates import load_chat
from finevit.contracts import AlignmentLLM
from finevit.plugins import hookimpl


class AcmeLLM(AlignmentLLM):
    """Each token tells the next one: no attention at all."""

    def __init__(self, *, tokenizer="scenes-chat", dim=32):
        super().__init__()
        self.dim, self.context, self.tokenizer = dim, 4096, tokenizer
        self.table = nn.Embedding(load_chat(tokenizer).size, dim)
        self.mix = nn.Linear(dim, dim)

    def embed(self, tokens):
        return self.table(tokens)

    def forward(self, embeddings, dialogues):
        return self.mix(embeddings)

    def logits(self, hidden):
        return hidden @ self.table.weight.T

    @torch.no_grad()
    def generate(self, prompts, *, max_new_tokens, stop):
        found = []
        for prompt in prompts:
            x, ids = prompt[-1], []
            while len(ids) < max_new_tokens and (token := int(self.logits(self.mix(x)).argmax())) != stop:
                ids.append(token)
                x = self.table.weight[token]
            found.append(ids)
        return found

    def describe(self):
        return "Acme, each token tells the next"


@hookimpl
def finevit_alignment_llms():
    return {"AcmeLLM": AcmeLLM}
'''


@pytest.mark.slow
def test_a_package_that_pip_installs_brings_its_own_llm(tmp_path):
    source = tmp_path / "acme"
    source.mkdir()
    (source / "acme_llm.py").write_text(ACME)
    entry = "entry_points={'finevit': ['acme = acme_llm']}"
    (source / "setup.py").write_text(
        f"from setuptools import setup\nsetup(name='acme-llm', version='1.2', py_modules=['acme_llm'], {entry})\n"
    )
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(source)], check=True, capture_output=True)
    found = train(tmp_path / "run", "model.llm.type=AcmeLLM", "model.llm.dim=32", path=site)
    assert "language model: Acme, each token tells the next" in found["log"]
    assert len(found["losses"]) == 2
