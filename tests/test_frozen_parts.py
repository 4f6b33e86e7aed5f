"""Parts that are frozen, from the start or by a schedule, on several ranks too; prompts that fill the context."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel

from finevit.plugins import load_plugins
from finevit.registry import MODELS
from finevit.testing import random_dialogues, random_pack

PARTS = ("backbone", "connector", "llm")


def stage(**options: object):
    load_plugins()
    torch.manual_seed(0)
    return MODELS.build(
        {
            "type": "LLMAlignment",
            "backbone": {"type": "FineViT", "arch": {"depth": 2, "dim": 16, "heads": 2, "mlp_dim": 24}, "drop_path": 0.9},
            "connector": {"type": "MergeConnector", "mlp_dim": 16},
            "llm": {"type": "PlainLLM", "depth": 1, "dim": 16, "heads": 2, "context": 24},
            **options,
        }
    )


def batch() -> dict:
    images = random_pack([(2, 4), (4, 4)])
    dialogues = random_dialogues([(4, [(2, 3)]), (6, [(1, 3)])], vocab=200)
    tokens = dialogues.tokens.clone()
    tokens[:2], tokens[9:13] = -1, -1
    dialogues = dialogues._replace(tokens=tokens, visual=(2, 4))
    return {"images": images._replace(pixels=images.pixels.float()), "dialogues": dialogues, "mode": "loss"}


@pytest.fixture
def alone(tmp_path):
    """A group of one rank."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("first", [(), ("backbone",)])
def test_parts_freeze_and_thaw_on_ranks(first):
    """As the configs have it: DistributedDataParallel waits for gradients of every parameter unless it is told."""
    unused = Config.fromfile("configs/_base_/runtime.py").find_unused_parameters
    model = stage(**{f"{part}_frozen": True for part in first})
    ranks = MMDistributedDataParallel(module=model, find_unused_parameters=unused)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for frozen in (first, ("backbone",), ("llm",), (), ("backbone", "llm")):
        for part in PARTS:
            setattr(model, f"{part}_frozen", part in frozen)
        before = copy.deepcopy(model.state_dict())
        optimizer.zero_grad()
        ranks(**batch())["loss_language"].backward()
        optimizer.step()
        for part in PARTS:
            moved = any(
                not torch.equal(value, before[f"{part}.{name}"]) for name, value in model.get_submodule(part).state_dict().items()
            )
            assert moved == (part not in frozen), (part, frozen)


def test_a_frozen_encoder_does_as_in_evaluation():
    model = stage(backbone_frozen=True).train()
    losses = {model(**batch())["loss_language"].item() for _ in range(6)}
    assert len(losses) == 1  # no block is dropped by chance
    model.backbone_frozen = False
    assert len({model.train()(**batch())["loss_language"].item() for _ in range(6)}) > 1


def test_nothing_left_to_train_is_refused():
    frozen = {f"{part}_frozen": True for part in PARTS}
    with pytest.raises(ValueError, match="llm_frozen=True, and what is not so has nothing to train: nothing is left to learn"):
        stage(**frozen)(**batch())
    model = stage(**{**frozen, "llm_frozen": False})
    model.llm.requires_grad_(False)  # as of model.llm.train=frozen
    with pytest.raises(ValueError, match="llm_frozen=False, and what is not so has nothing to train: nothing is left to learn"):
        model(**batch())


def test_answers_end_where_the_context_does(monkeypatch):
    model = stage(answer_length=100).eval()
    model.llm.generate = lambda prompts, *, max_new_tokens, stop: [[len(prompts), max_new_tokens]] * len(prompts)
    monkeypatch.setattr(type(model.llm), "chat", SimpleNamespace(decode=str, closing=0))
    assert model.answer([torch.zeros(20, 16), torch.zeros(3, 16)]) == ["[1, 4]", "[1, 21]"]
    model.answer_length = 5
    assert model.answer([torch.zeros(length, 16) for length in (20, 3, 19, 4)]) == ["[1, 4]", "[3, 5]", "[3, 5]", "[3, 5]"]
    with pytest.raises(ValueError, match=r"a prompt of 24 tokens fills the language model's 24; lower dataset.max_seq_len"):
        model.answer([torch.zeros(24, 16)])
