"""Stage II on several captioners' texts, killed and resumed: the same captions are drawn, the same weights come out."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_train import killed as killed  # fixtures, as the two below
from test_train import losses, weights
from test_train import runs as runs
from test_train import train as train

from finevit.config.loading import load_config
from finevit.engine.hooks.exact_resume_hook import ExactResumeHook
from finevit.plugins import load_plugins

ROOT = Path(__file__).parents[1]
STEPS = 12
CONFIG = f"""
_base_ = ["{ROOT}/configs/finevit_tiny_stage2.py"]
model = dict(
    backbone=dict(_delete_=True, type="FineViT", arch=dict(depth=2, dim=32, heads=2, mlp_dim=64), drop_path=0.2),
    text_encoder=dict(depth=1, dim=24, heads=1),
    head=dict(embed_dim=16),
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(transforms=[dict(type="PickCaption", weights=dict(qwen=5.0, human=3.0, alt=2.0)), *CUT]),
    batch_sampler=dict(
        resolution=dict(milestones=[(0, 56), (7, 84)]), schedules=dict(DropPatches=dict(ratio=dict(type="Constant", value=0.25)))
    ),
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
def test_a_killed_run_draws_the_same_captions_and_ends_with_the_same_weights(killed, train, config, tmp_path):
    one_step = ["--cfg-options", "log_processor.window_size=1"]
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    output = train(config, whole, *one_step)
    killed(config, torn, *one_step)
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


def about_to_resume(**options: object) -> SimpleNamespace:
    """A runner of Stage II with overrides; ``__`` stands for a dot."""
    load_plugins()
    schedules = {"head.weight": {"type": "Linear", "begin_value": 0, "end_value": 1, "end": 9}}
    own = {"custom_hooks": [{"type": "ScheduleHook", "schedules": schedules}], "train_cfg.max_iters": 100}
    cfg = load_config(ROOT / "configs/finevit_tiny_stage2.py", {**own, **{k.replace("__", "."): v for k, v in options.items()}})
    dataset = SimpleNamespace(metainfo={"source": "scenes"}, seed=cfg.train_dataloader.dataset.get("seed", 0))
    loader = SimpleNamespace(dataset=dataset, batch_sampler=SimpleNamespace(batch_size=48, sampler=range(9)))
    return SimpleNamespace(cfg=cfg, train_dataloader=loader, seed=0, world_size=1, _resume=True)


def saved(**options: object) -> dict:
    checkpoint: dict = {"meta": {}}
    ExactResumeHook().before_save_checkpoint(about_to_resume(**options), checkpoint)
    return checkpoint


FREED = {
    "train_dataloader__batch_sampler__resolution": {"_delete_": True, "type": "ConstantResolution", "side": 84},
    "train_dataloader__batch_sampler__schedules__Tokenize__max_seq_len": {"type": "Milestones", "milestones": [(0, 48), (60, 80)]},
}
"""Schedules in steps, or constant."""


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        (
            "train_dataloader__batch_sampler__schedules__Tokenize__max_seq_len__milestones",
            [(0, 32)],
            "train_dataloader.batch_sampler.schedules.Tokenize.max_seq_len: {",
        ),
        ("train_dataloader__batch_sampler__resolution__milestones", [(0, 84), (70, 112)], "(60, 112)"),
        (
            "train_dataloader__batch_sampler__schedules__DropPatches__ratio",
            {"type": "Constant", "value": 0.5},
            "schedules.DropPatches.ratio: None then, {'type': 'Cons",
        ),
        ("train_dataloader__dataset__seed", 3, "train_dataloader.dataset.seed: 0 then, 3 now"),
        ("train_dataloader__dataset__transforms__0__weights__short", 0.2, "{'type': 'PickCaption', 'weights': {'short': 0.2}}"),
        (
            "custom_hooks__0__schedules",
            {"head.weight": {"type": "Constant", "value": 1}},
            "ScheduleHook.schedules: [{'head.weight'",
        ),
        ("optim_wrapper__optimizer__type", "AdamW", "optim_wrapper.optimizer.type: TimmMuon then, AdamW now"),
        ("train_cfg__max_iters", 200, "follow train_cfg.max_iters: give the steps of then"),
    ],
)
def test_a_resume_under_changed_settings_is_refused(option, value, said):
    checkpoint = saved()
    ExactResumeHook().after_load_checkpoint(about_to_resume(train_dataloader__num_workers=0), checkpoint)
    with pytest.raises(ValueError, match="resume: the run would not continue") as caught:
        ExactResumeHook().after_load_checkpoint(about_to_resume(**{option: value}), checkpoint)
    assert said in str(caught.value)
    assert str(caught.value).count(" then, ") == (2 if option == "train_cfg__max_iters" else 1)


def test_a_run_with_schedules_in_steps_can_be_made_longer():
    ExactResumeHook().after_load_checkpoint(about_to_resume(train_cfg__max_iters=200, **FREED), saved(**FREED))


def test_the_config_that_a_run_saved_resumes_it(tmp_path):
    """MMEngine writes it with its keys in alphabetical order."""
    run = about_to_resume()
    run.cfg.dump(tmp_path / "saved.py")
    again = about_to_resume()
    again.cfg = load_config(tmp_path / "saved.py")
    assert ExactResumeHook._facts(again) != ExactResumeHook._facts(run)
    ExactResumeHook().after_load_checkpoint(again, saved())
    again.cfg.train_dataloader.batch_sampler.schedules.Tokenize.max_seq_len.milestones[0] = (0, 32)
    with pytest.raises(ValueError, match=r"Changed:\n  train_dataloader\.batch_sampler\.schedules\.Tokenize\.max_seq_len: .* now$"):
        ExactResumeHook().after_load_checkpoint(again, saved())


def test_what_an_older_checkpoint_does_not_say_is_not_compared():
    checkpoint = saved()
    order = checkpoint["meta"]["data_order"]
    checkpoint["meta"]["data_order"] = {name: order[name] for name in ("seed", "global batch size", "records", "data")}
    ExactResumeHook().after_load_checkpoint(about_to_resume(optim_wrapper__optimizer__type="AdamW"), checkpoint)
    ExactResumeHook().after_load_checkpoint(about_to_resume(), {"meta": {}})
