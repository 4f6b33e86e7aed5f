"""The benchmark of the ablation: the encoder alone is taken, all are tuned alike, and nothing is done twice."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from finevit.boxes import STYLES, parse, render
from finevit.config.loading import load_config
from finevit.contracts import BadSample, Region
from finevit.engine.checkpoints import taken_over
from finevit.evaluation.local_metrics import local_keys
from finevit.ops.patches import patchify
from finevit.plugins import load_plugins
from finevit.registry import MODELS, TRANSFORMS
from finevit.testing import random_pack

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from ablation import painted, run, show  # noqa: E402

STYLES.pop("letters25")  # of the benchmark's own processes
HOUSE = Region(box=(0.0, 0.25, 0.5, 0.75), phrase="Red  house")
SIGN = Region(box=(0.25, 0.5, 1.0, 0.75), kind="text_line", phrase="the text “AB”", text="AB")
WRONG = Region(box=(0.5, 0.2, 0.4, 0.6), phrase="cloud")

KEYS = [key for tasks in show.GROUPS.values() for key in tasks.values()]
SMALL = {"val_dataloader.dataset.source.length": 2}


@pytest.fixture(autouse=True)
def _letters(monkeypatch):
    monkeypatch.setitem(STYLES, "letters25", painted.LETTERS)


@pytest.fixture
def trainings(monkeypatch) -> list[tuple[str, int, list[str]]]:
    """What would be trained: config, steps and options; each writes a checkpoint with a weight of its own."""
    calls: list[tuple[str, int, list[str]]] = []

    def train(config: str, folder: Path, *, steps: int, options: list[str]) -> dict:
        calls.append((config, steps, list(options)))
        folder.mkdir(parents=True, exist_ok=True)
        weights = {"backbone.w": torch.tensor(len(calls)), "head.w": torch.zeros(1)}
        torch.save({"state_dict": weights}, folder / f"iter_{steps}.pth")
        metrics = dict.fromkeys(KEYS, len(calls) / 100)
        return {"evaluations": [{"iteration": steps, **metrics}], "protocols": {}, "data": {}}

    monkeypatch.setattr(run.runs, "train", train)
    monkeypatch.setattr(run.runs, "steps_for", lambda minutes, *rest: round(10 * minutes))
    return calls


def command(monkeypatch, folder: Path, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--work-dir", str(folder / "runs"), "--out", str(folder / "out.v1"), *options])
    run.main()


def test_every_encoder_is_tuned_alike(trainings, tmp_path, monkeypatch):
    """Same steps, seed and data, another encoder; Stages II and III start where the one before ended."""
    command(monkeypatch, tmp_path, "--seeds", "0", "7", "--minutes2", "5", "--steps3", "9")
    assert len(trainings) == 1 + 2 * (3 + 3 * 2)
    assert trainings[0][:2] == ("benchmarks/ablation/llm.py", 1000)  # one for all
    stages = [call for call in trainings if call[0].startswith("configs/")]
    assert [steps for _, steps, _ in stages] == [30, 50, 9] * 2
    assert [call[2][-1] for call in stages[4:]] == [
        f"load_from={tmp_path}/runs/seed7/stage{n}" for n in ("1/iter_30.pth", "2/iter_50.pth")
    ]
    for name in ("language", "contrastive"):
        own = [call for call in trainings if call[0] == f"benchmarks/ablation/{name}.py"]
        for seed, calls in ((0, own[:3]), (7, own[3:])):
            assert len({(steps, *options[:-1]) for _, steps, options in calls}) == 1
            assert f"randomness.seed={seed}" in calls[0][2]
            starts = [f"load_from={tmp_path}/runs/seed{seed}/encoder{stage}/{name}.pth" for stage in (1, 2, 3)]
            assert [options[-1] for *_, options in calls] == starts
    rows = json.loads((tmp_path / "out.v1.json").read_text())["rows"]
    assert [(row["seed"], row["encoder"]) for row in rows] == [(seed, name) for seed in (0, 7) for name in show.ENCODERS]
    assert rows[0]["minutes"]["encoder"] < rows[1]["minutes"]["encoder"] < rows[2]["minutes"]["encoder"]
    assert (tmp_path / "out.v1.svg").read_text().count("</svg>") == 1


def test_what_is_finished_is_not_run_again(trainings, tmp_path, monkeypatch, capsys):
    command(monkeypatch, tmp_path, "--seeds", "0")
    table = capsys.readouterr().out
    (tmp_path / "runs/seed0/encoder2/language/part.json").unlink()  # as if it had been interrupted
    trainings.clear()
    command(monkeypatch, tmp_path, "--seeds", "0")
    assert [config for config, *_ in trainings] == ["benchmarks/ablation/language.py"]
    assert len(capsys.readouterr().out.splitlines()) == len(table.splitlines())
    with pytest.raises(ValueError, match=r"stage2 is of another run \(minutes were 12\.0, are 13\.0\): give another --work-dir"):
        command(monkeypatch, tmp_path, "--seeds", "0", "--minutes2", "13")
    with pytest.raises(ValueError, match=r"stage1 is of another run \(steps were None, are 3\)"):
        command(monkeypatch, tmp_path, "--seeds", "0", "--steps1", "3")


def test_given_checkpoints_are_not_trained(trainings, tmp_path, monkeypatch, capsys):
    for stage in (1, 2, 3):
        torch.save({"state_dict": {"backbone.w": torch.tensor(stage), "llm.w": torch.zeros(1)}}, tmp_path / f"{stage}-4.pth")
    command(monkeypatch, tmp_path, "--seeds", "4", "--checkpoints", *(f"{tmp_path}/{stage}-{{seed}}.pth" for stage in (1, 2, 3)))
    assert len(trainings) == 1 + 6
    for stage in (1, 2, 3):
        starts = [
            torch.load(tmp_path / f"runs/seed4/encoder{stage}/{name}.pth")["state_dict"] for name in ("language", "contrastive")
        ]
        encoder = {"backbone.w": torch.tensor(stage)}
        assert starts == [{**encoder, "head.w": torch.zeros(1)}, encoder]  # the language model brings no encoder
    assert "| minutes, trained | not known | not known | not known |" in capsys.readouterr().out


def test_the_scores_of_one_encoder_are_never_those_of_another(trainings, tmp_path, monkeypatch):
    files = [tmp_path / f"{stage}.pth" for stage in (1, 2, 3)]
    for other in (0, 10):
        for stage, file in enumerate(files):
            torch.save({"state_dict": {"backbone.w": torch.tensor([float(stage + other)])}}, file)
        if other:
            with pytest.raises(ValueError, match=r"encoder1.language is of another run \(weights were .*\): give another"):
                command(monkeypatch, tmp_path, "--seeds", "0", "--checkpoints", *map(str, files))
        else:
            command(monkeypatch, tmp_path, "--seeds", "0", "--checkpoints", *map(str, files))


def test_the_encoder_alone_is_taken(tmp_path):
    """A run that starts from it says so; what holds no encoder is refused."""
    load_plugins()
    configs = {name: load_config(ROOT / f"benchmarks/ablation/{name}.py", SMALL) for name in ("contrastive", "language")}
    models = {name: MODELS.build({**cfg.model.to_dict(), "_scope_": "finevit"}) for name, cfg in configs.items()}
    torch.save({"state_dict": models["contrastive"].state_dict()}, tmp_path / "stage2.pth")
    torch.save({"state_dict": models["language"].state_dict()}, tmp_path / "llm.pth")
    encoder, others = run.encoder_of(tmp_path / "stage2.pth"), run.others_of(tmp_path / "llm.pth")
    said = taken_over(models["contrastive"].state_dict(), encoder, setting="load_from")
    assert said == "taken over: backbone; start new: text_encoder, head"
    assert {name.split(".")[0] for name in others} == {"connector", "llm"}
    weights = torch.load(run.keep({**others, **encoder}, tmp_path / "new/language.pth"), weights_only=False)["state_dict"]
    assert weights.keys() == models["language"].state_dict().keys()
    torch.save({"state_dict": {"head.w": torch.zeros(1)}}, tmp_path / "none.pth")
    with pytest.raises(ValueError, match=r"none\.pth' holds no encoder"):
        run.encoder_of(tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["language", "contrastive"])
def test_the_readers_are_scored(name, tmp_path):
    """The encoder is frozen, the evaluation gives every key of the table, and is made once, at the end."""
    load_plugins()
    options = SMALL | {"model.llm.config.num_hidden_layers": 1, "model.answer_length": 4} if name == "language" else SMALL
    cfg = load_config(ROOT / f"benchmarks/ablation/{name}.py", options)
    assert cfg.model.backbone_frozen
    assert [hook.get("before") for hook in cfg.custom_hooks if hook.type == "ReportHook"] == [False]
    cfg.update(dict.fromkeys(("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler")))
    cfg.update(
        work_dir=str(tmp_path), visualizer={"type": "Visualizer"}, custom_hooks=[{"type": "ZeroShotHook"}], log_level="ERROR"
    )
    cfg.experiment_name = tmp_path.name
    metrics = Runner.from_cfg(cfg).val()
    prefix = {"language": "stage3/", "contrastive": "stage2/"}[name]
    assert {key for key in KEYS if key.startswith(prefix)} <= set(metrics)


def test_the_language_model_is_taught_without_an_encoder():
    load_plugins()
    cfg = load_config(ROOT / "benchmarks/ablation/llm.py", SMALL)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        types = [transform.type for transform in loader.dataset.transforms]
        assert types[:3] == ["ResizeToBudget", "AskQuestions", "PaintRegions"]
    assert cfg.train_dataloader.batch_sampler.schedules.get("CropToRegion") is None
    assert cfg.train_dataloader.dataset.transforms[1].task_weights.text2box == 4.0
    reader = load_config(ROOT / "benchmarks/ablation/language.py", SMALL)
    assert reader.train_dataloader.dataset.transforms[0].type == "CropToRegion"
    for config in (cfg, reader):  # all tasks from the start, and none of the phases of Stage III
        assert [schedule.type for schedule in config.param_scheduler] == ["LinearLR", "CosineAnnealingLR"]
        assert {hook.type for hook in config.custom_hooks}.isdisjoint({"ScheduleHook"})
        assert config.model.backbone_frozen
        assert config.train_dataloader.batch_sampler.schedules.get("AskQuestions") is None
        (ask,) = [step for step in config.train_dataloader.dataset.transforms if step.type == "AskQuestions"]
        assert (ask.task_weights.counting, ask.style) == (0.6, "letters25")
    built = [MODELS.build({**config.model.to_dict(), "_scope_": "finevit"}) for config in (cfg, reader)]
    assert [type(model.backbone).__name__ for model in built] == ["PatchEmbedding", "FineViT"]
    assert built[0].state_dict().keys() == built[1].state_dict().keys()


def test_painted_patches_are_read_without_a_block():
    encoder = painted.PatchEmbedding(arch={"depth": 1, "dim": 16, "heads": 1, "mlp_dim": 16})
    images = random_pack([(2, 4), (4, 4)])
    images = images._replace(pixels=images.pixels.float())
    found = encoder(images)
    torch.testing.assert_close(found.tokens, encoder.embed(images.pixels))
    assert found.pooled.shape == (2, 16)


def test_boxes_as_letters():
    box = (0.1234, 0.25, 0.5, 0.9996)
    assert render([box], "letters25", (280, 448)) == "<d><g><m><z>"
    (found,) = parse("<d><g><m><z>", "letters25", (280, 448))
    assert max(abs(one - other) for one, other in zip(found, box, strict=True)) <= 0.5 / 25 + 1e-9


def canvas(*regions: Region, patch: int = 14, size: tuple[int, int] = (56, 112)) -> np.ndarray:
    sample = {"id": "x", "image": np.zeros((*size, 3), np.uint8), "regions": regions}
    return TRANSFORMS.build({"type": "PaintRegions", "patch": patch})(sample)["image"]


def test_each_box_is_filled_with_what_it_holds():
    found = canvas(HOUSE, WRONG)
    assert (found[14:42, :56] == np.tile(painted.texture("red house"), (2, 4, 1))).all()
    found[14:42, :56] = 128
    assert (found == 128).all()
    with pytest.raises(BadSample, match="no region to paint"):
        canvas(WRONG)


def test_a_later_region_covers_an_earlier_one_and_letters_part_a_line():
    found = canvas(HOUSE, SIGN)
    texture = painted.texture
    letters = np.tile(texture("A"), (1, 5, 1))[:, :42], np.tile(texture("B"), (1, 8, 1))[:, 70 - 14 * 5 :][:, :42]
    assert (found[28:42, 28:70] == letters[0]).all()
    assert (found[28:42, 70:112] == letters[1]).all()
    assert (found[28:42, :28] == np.tile(texture("red house"), (1, 2, 1))).all()


def test_textures_are_means_of_their_words():
    red, house, both = (painted.texture(phrase).astype(int) for phrase in ("red", "house", "red house"))
    assert set(np.unique(red)) == {18, 238}
    assert abs((red + house) / 2 - both).max() <= 1
    assert (painted.texture("house red") == painted.texture("red house")).all()
    assert (red[:4, :4] == red[0, 0]).all()  # coarse: 14 pixels of 4 drawn
    assert 0.3 < (red != house).mean() < 0.7


def test_painted_textures_repeat_with_the_patches():
    patches = patchify(canvas(Region((0.0, 0.0, 1.0, 0.5), phrase="red house"), patch=16, size=(64, 64)), 16)
    assert (patches[:8] == patches[0]).all()
    assert (patches[0] == patchify(painted.texture("red house", 16), 16)[0]).all()
    assert (patches[8:] == 128).all()


def test_groups_are_means():
    """The local mean is the one that ``LocalTasks`` calls ``local``; what was not asked does not count."""
    metrics = {key: index / 10 for index, key in enumerate(KEYS)}
    found = show.scores(metrics)
    assert found["general"] == pytest.approx(0.1)
    assert found["local"] == pytest.approx(0.45)
    assert {f"stage3/{key}" for key in local_keys()} == set(show.GROUPS["local"].values())
    del metrics["stage3/counting_exact"]
    assert show.scores(metrics)["local"] == pytest.approx(0.4)


def test_the_table_by_hand():
    rows = [
        {"encoder": name, "scores": {"caption": 0.1 * place + 0.01 * seed}, "minutes": dict.fromkeys(show.COSTS, place + seed)}
        for seed in (0, 2)
        for place, name in enumerate(show.ENCODERS, start=1)
    ]
    assert show.table(rows).splitlines()[0] == "|  | I | I + II | I + II + III |"
    assert (
        show.table(rows).splitlines()[2] == "| caption | 0.110 (0.100 to 0.120) | 0.210 (0.200 to 0.220) | 0.310 (0.300 to 0.320) |"
    )
    assert show.table(rows).splitlines()[3] == "| minutes, trained | 2.0 | 3.0 | 4.0 |"
    assert show.table(rows[:3]).splitlines()[2] == "| caption | 0.100 | 0.200 | 0.300 |"
