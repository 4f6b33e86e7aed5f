"""Parts that begin again in the middle of a run, of MMEngine's own Runner, resumed too."""

from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn

from finevit.config.loading import load_config
from finevit.curriculum.hooks import ResetHook
from finevit.engine.checkpoints import StreamingCheckpointHook
from finevit.registry import MODELS

STEPS, RESET = 6, 3


@MODELS.register_module(name="two-parts", force=True)
class TwoParts(BaseModel):
    """Two layers, the first of which is called encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.reader = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, inputs: Tensor, mode: str = "loss") -> dict[str, Tensor]:
        return {"loss": self.reader(self.encoder(inputs)).square().mean()}


def run(work_dir: Path, *, parts: list[str], resume: bool = False, load_from: Path | None = None, steps: int = STEPS) -> Runner:
    """A run of six steps with AdamW, a checkpoint after each; of the parts the second begins again a step later."""
    rows = list(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)))
    runner = Runner(
        model={"type": "two-parts"},
        work_dir=str(work_dir),
        train_dataloader={
            "batch_size": 8,
            "dataset": rows,
            "sampler": {"type": "InfiniteSampler", "shuffle": False},
            "collate_fn": lambda batch: {"inputs": torch.stack(batch)},
        },
        train_cfg={"by_epoch": False, "max_iters": steps},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.1}},
        default_hooks={"checkpoint": {"type": StreamingCheckpointHook, "interval": 1, "by_epoch": False}},
        custom_hooks=[{"type": ResetHook, "parts": [part], "begin": RESET + i} for i, part in enumerate(parts)],
        default_scope="finevit",
        experiment_name=f"{work_dir.parent.name}-{work_dir.name}-{resume}",
        randomness={"seed": 0},
        resume=resume,
        load_from=str(load_from) if load_from else None,
    )
    runner.train()
    return runner


def states(work_dir: Path, step: int, part: str) -> dict[str, Tensor]:
    state = torch.load(work_dir / f"iter_{step}.pth", weights_only=False)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith(part)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[bool]:
    return [torch.equal(value, other[name]) for name, value in one.items()]


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """Weights to begin with, which are not those of a new model."""
    work_dir = tmp_path_factory.mktemp("first")
    run(work_dir, parts=["reader"], steps=2)
    return work_dir / "iter_2.pth"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, begun) -> Path:
    work_dir = tmp_path_factory.mktemp("whole")
    run(work_dir, parts=["reader"], load_from=begun)
    return work_dir


def test_a_part_learns_as_if_it_had_just_begun_and_the_others_go_on(whole, begun):
    first = torch.load(begun, weights_only=False)["state_dict"]
    kept = torch.load(whole / f"iter_{RESET}.pth", weights_only=False)["first_weights"]
    assert {name.partition(".")[0] for name in kept} == {"reader"}
    assert all(same(kept, first))
    model = TwoParts()
    model.load_state_dict({**torch.load(whole / f"iter_{RESET}.pth", weights_only=False)["state_dict"], **kept})
    fresh = torch.optim.AdamW(model.reader.parameters(), lr=0.1)  # no momentum is left from the steps before
    rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    model(rows)["loss"].backward()
    fresh.step()
    after = states(whole, RESET + 1, "reader")
    for name, value in model.reader.state_dict(prefix="reader.").items():
        torch.testing.assert_close(after[name], value, rtol=1e-6, atol=1e-7)
    moved = [
        (states(whole, RESET + 1, "encoder")[name] - value).abs().max() for name, value in states(whole, RESET, "encoder").items()
    ]
    assert max(moved) < 0.2  # a step of 0.1, and nothing put back


@pytest.mark.parametrize("step", [1, RESET, RESET + 1])
def test_a_resumed_run_ends_with_the_same_weights(step, whole, begun, tmp_path):
    (tmp_path / f"iter_{step}.pth").write_bytes((whole / f"iter_{step}.pth").read_bytes())
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / f"iter_{step}.pth"))
    run(tmp_path, parts=["reader"], resume=True)
    assert all(same(states(tmp_path, STEPS, ""), states(whole, STEPS, "")))
    assert ("first_weights" in torch.load(whole / f"iter_{step}.pth", weights_only=False)) == (step <= RESET)


@pytest.mark.parametrize("step", [2, RESET + 1])
def test_parts_that_begin_again_at_steps_of_their_own_are_resumed(step, tmp_path):
    run(tmp_path / "whole", parts=["reader", "encoder"])
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    (resumed / f"iter_{step}.pth").write_bytes((tmp_path / "whole" / f"iter_{step}.pth").read_bytes())
    (resumed / "last_checkpoint").write_text(str(resumed / f"iter_{step}.pth"))
    run(resumed, parts=["reader", "encoder"], resume=True)
    assert all(same(states(resumed, STEPS, ""), states(tmp_path / "whole", STEPS, "")))


def test_a_checkpoint_without_the_first_weights_cannot_be_resumed(whole, tmp_path):
    checkpoint = torch.load(whole / "iter_1.pth", weights_only=False)
    del checkpoint["first_weights"]
    torch.save(checkpoint, tmp_path / "iter_1.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_1.pth"))
    with pytest.raises(ValueError, match=r"lacks the first weights of reader, .* at step 3"):
        run(tmp_path, parts=["reader"], resume=True)


def test_a_part_that_is_not_there_is_named_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match=r"ResetHook\.parts: TwoParts has no part 'raeder' .did you mean 'reader'"):
        run(tmp_path, parts=["raeder"])


@pytest.mark.parametrize(("setting", "value"), [("parts", "reader"), ("parts", []), ("begin", -1), ("begin", 0.5)])
def test_wrong_settings(setting, value):
    with pytest.raises(ValueError, match=rf"ResetHook\.{setting}="):
        ResetHook(**{"parts": ["reader"], "begin": 1, setting: value})


def test_a_share_of_the_run_becomes_a_step():
    hook = {"type": "ResetHook", "parts": ["llm"], "begin": 0.25}
    cfg = load_config("configs/finevit_tiny_stage3.py", {"train_cfg.max_iters": 200, "custom_hooks": [hook]})
    assert cfg.custom_hooks[0].begin == 50
