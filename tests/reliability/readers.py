"""Every road by which a checkpoint is read, called in this process: what it says, and how it ends."""

import contextlib
import io
import itertools
import os
import runpy
import sys
from pathlib import Path
from unittest.mock import patch

import torch

from finevit.backbones import FineViT
from finevit.config.loading import load_config
from finevit.engine.cli import user_errors
from finevit.plugins import load_plugins
from finevit.registry import MODELS

_runs = itertools.count()
ROOT = Path(__file__).resolve().parents[2]
ARCH = {"depth": 1, "dim": 16, "heads": 1, "mlp_dim": 16}
CONFIG = f"""
_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_dialogues.py"]
model = dict(
    type="LLMAlignment",
    backbone=dict(type="FineViT", arch={ARCH}),
    connector=dict(type="MergeConnector", mlp_dim=8),
    llm=dict(type="PlainLLM", tokenizer="scenes-chat", depth=1, dim=16, heads=2, context=128),
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
train_cfg = dict(type="StatelessTrainLoop", max_iters=4)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="LocalTasks")]
_length = dict(max_seq_len=dict(type="Constant", value=96))
train_dataloader = dict(batch_size=2, num_workers=0, batch_sampler=dict(schedules=dict(TokenizeDialogue=_length)))
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(source=dict(length=2), max_seq_len=96))
default_hooks = dict(checkpoint=dict(interval=2))
custom_hooks = []
"""


def make(folder: Path) -> tuple[Path, dict]:
    """A config of a small Stage III, and what a checkpoint of it holds."""
    load_plugins()
    config = folder / "config.py"
    config.write_text(CONFIG)
    cfg = load_config(config)
    hub = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
    meta = {"cfg": cfg.pretty_text, "iter": 2, "epoch": 0, "seed": 0}
    state = MODELS.build(cfg.model).state_dict()
    return config, {"meta": meta, "state_dict": state, "message_hub": hub, "optimizer": {"state": {}, "param_groups": []}}


def train(config: Path, folder: Path) -> tuple[int, str]:
    """A run of four steps, with a checkpoint after two."""
    return _tool("train", config, "--work-dir", folder)


def roads(config: Path, folder: Path) -> dict:
    """By name: what reads the checkpoint of that path."""
    out = str(folder / "out")
    return {
        "resume": lambda file: _tool("train", config, "--resume", file, "--work-dir", out, "--cfg-options", _name()),
        "load_from": lambda file: _tool("train", config, "--work-dir", out, "--cfg-options", f"load_from={file}", _name()),
        "Pretrained": lambda file: _call(_pretrained, file),
        "test": lambda file: _tool("test", config, file, "--work-dir", out),
        "export": lambda file: _tool("export", file, "--to", "safetensors", "--out", str(folder / "export")),
        "probe": lambda file: _tool("probe", file, "--work-dir", out),
        "serve": lambda file: _tool("serve", config, file, "--port", "0"),
    }


def answers(config: Path, file: Path) -> tuple[int, str]:
    """What ``tools/serve.py`` does before it listens."""
    from finevit.serving.checkpoint import load_answerer

    return _call(load_answerer, str(config), str(file))


def probed(file: Path) -> tuple[int, str]:
    """What ``tools/probe.py`` does before it draws images."""
    from finevit.evaluation.probes.features import load_encoder, open_checkpoint

    return _call(lambda: load_encoder(open_checkpoint(str(file), None, {})))


def _name() -> str:
    """Runs of one second and one process would share MMEngine's messages."""
    return f"experiment_name=run{next(_runs)}"


def _pretrained(file: Path) -> None:
    FineViT(arch=ARCH, init_cfg={"type": "Pretrained", "checkpoint": str(file), "prefix": "backbone."}).init_weights()


def _tool(name: str, *arguments: object) -> tuple[int, str]:
    with patch.object(sys, "argv", [f"{name}.py", *map(str, arguments)]):
        return _call(runpy.run_path, str(ROOT / f"tools/{name}.py"), run_name="__main__")


def _call(function, *arguments: object, **options: object) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), patch.dict(os.environ):
        try:
            with user_errors():
                function(*arguments, **options)
        except SystemExit as ended:
            return (ended.code if isinstance(ended.code, int) else 1), said.getvalue()
    return 0, said.getvalue()


def save(content: dict, path: Path, **options: object) -> Path:
    torch.save(content, path, **options)
    return path
