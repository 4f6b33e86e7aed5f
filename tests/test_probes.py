"""Probes of a frozen encoder: arithmetic by hand, toys with known answers, choices that never see the test set, and the tool."""

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch.nn.functional import interpolate

from finevit.evaluation.probes.attentive import AttentiveProbe, padded, probe_attentive
from finevit.evaluation.probes.choice import batches, best, counted, hold_out
from finevit.evaluation.probes.data import folders
from finevit.evaluation.probes.knn import fitting, probe_knn, votes
from finevit.evaluation.probes.linear import features, probe_linear
from finevit.evaluation.probes.regions import Regions, average_precision, box_weights, hold_out_images, pool_boxes, retrieve
from finevit.evaluation.probes.segmentation import Labelled, confusion, corners, overlaps, probe_segmentation
from finevit.registry import MODELS

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
CONFIG = f"""
_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_scenes.py"]
model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch=dict(depth=2, dim=32, heads=2, hidden=48)),
    teacher=dict(type="PackagedDinov2Small"),
    head=dict(type="DistillationHead"),
)
val_dataloader = dict(batch_size=4, dataset=dict(pixels=84 * 84))
"""


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def separable(number: int, classes: int, *, seed: int, dim: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around one corner a class: far from each other, so that a linear classifier makes no mistake."""
    labels = torch.arange(number) % classes
    return 3 * torch.eye(classes, dim)[labels] + 0.2 * noise(number, dim, seed=seed), labels


# --- choices ----------------------------------------------------------------------------------------------------------------------


def test_held_out_images_are_a_tenth_apart_from_the_rest_and_drawn_by_the_seed():
    fit, held = hold_out(50, seed=3)
    assert len(held) == 5
    assert sorted([*fit.tolist(), *held.tolist()]) == list(range(50))
    assert torch.equal(held, hold_out(50, seed=3)[1])
    assert not torch.equal(held, hold_out(50, seed=4)[1])
    assert [len(part) for part in hold_out(2, seed=0)] == [1, 1]
    with pytest.raises(ValueError, match=r"1 training images: a probe needs at least 2"):
        hold_out(1, seed=0)


def test_answers_are_counted_over_images_and_over_classes():
    assert counted(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])) == {"top1": 0.75, "balanced": 0.75}
    assert counted(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1])) == {"top1": 0.75, "balanced": 0.5}


def test_of_equal_settings_the_first_is_chosen_and_never_nan():
    assert best({"a": math.nan, "b": 0.25, "c": 0.25}) == "b"
    assert best({"a": 0.1, "b": 0.25}) == "b"


def test_batches_go_through_every_image_once_an_epoch():
    found = batches(5, size=2, steps=6, seed=0)
    assert [len(batch) for batch in found] == [2, 2, 1, 2, 2, 1]
    assert sorted(torch.cat(found[:3]).tolist()) == sorted(torch.cat(found[3:]).tolist()) == [0, 1, 2, 3, 4]


# --- k-NN -------------------------------------------------------------------------------------------------------------------------


def test_votes_weigh_neighbours_by_their_similarity():
    gallery = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]])  # cosines to (1, 0): 1, 0.6, 0
    one, two = votes(torch.tensor([[5.0, 0.0]]), gallery, torch.tensor([0, 1, 1]), ks=[1, 3], classes=2)
    weights = [math.exp(cosine / 0.07) for cosine in (1.0, 0.6, 0.0)]
    assert one[0].tolist() == pytest.approx([weights[0] / sum(weights), 0.0])
    assert two[0].tolist() == pytest.approx([weights[0] / sum(weights), (weights[1] + weights[2]) / sum(weights)])


def test_many_near_neighbours_outvote_the_nearest():
    gallery = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1]]), dim=1)
    one, three = votes(torch.tensor([[1.0, 0.0]]), gallery, torch.tensor([0, 1, 1]), ks=[1, 3], classes=2)
    assert one.argmax(1).tolist() == [0]
    assert three.argmax(1).tolist() == [1]


def test_k_is_no_larger_than_the_gallery():
    assert fitting(5) == [5]
    assert fitting(30) == [10, 20, 30]
    assert fitting(1000) == [10, 20, 100, 200]


def test_knn_tells_separable_classes_and_guesses_at_noise():
    train, test = separable(80, 4, seed=1), separable(40, 4, seed=2)
    found = probe_knn(*train, *test, classes=4, seed=0)
    assert found.metrics["top1"] == 1.0
    assert found.metrics["top1_k20"] == 1.0
    guessed = probe_knn(noise(400, 8, seed=3), train[1].repeat(5), noise(400, 8, seed=4), test[1].repeat(10), classes=4, seed=0)
    assert guessed.metrics["top1"] == pytest.approx(0.25, abs=0.08)


# --- linear -----------------------------------------------------------------------------------------------------------------------


def test_linear_features_are_the_pooled_vector_and_the_means():
    means = torch.arange(12.0).reshape(1, 4, 3)
    found = features(means, torch.full((1, 3), -1.0))
    assert found["last-1"].tolist() == [[-1, -1, -1, 9, 10, 11]]
    assert found["last-4"].tolist() == [[-1, -1, -1, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7, 8]]
    assert features(means, means[:, -1])["last-1"].tolist() == [[9, 10, 11]]  # pooled by the mean: told once


def test_linear_probe_tells_separable_classes():
    (x, y), (test, test_y) = separable(80, 4, seed=1), separable(40, 4, seed=2)
    found = probe_linear({"last-1": x}, y, {"last-1": test}, test_y, classes=4, seed=0)
    assert found.metrics == {"top1": 1.0, "balanced": 1.0}
    assert found.chosen["features"] == "last-1"
    assert len(found.tried) == 13


def test_linear_probe_guesses_at_noise():
    labels = torch.arange(400) % 4
    found = probe_linear({"x": noise(400, 8, seed=1)}, labels, {"x": noise(400, 8, seed=2)}, labels, classes=4, seed=0)
    assert found.metrics["top1"] == pytest.approx(0.25, abs=0.08)


def test_linear_probe_chooses_the_features_that_tell():
    (good, y), (test, test_y) = separable(80, 4, seed=1), separable(40, 4, seed=2)
    train, unseen = {"bad": noise(80, 8, seed=3), "good": good}, {"bad": noise(40, 8, seed=4), "good": test}
    found = probe_linear(train, y, unseen, test_y, classes=4, seed=0)
    assert (found.chosen["features"], found.metrics["top1"]) == ("good", 1.0)


def test_poisoned_test_labels_change_no_choice():
    x, y = noise(120, 8, seed=1) + 0.7 * separable(120, 4, seed=1)[0], torch.arange(120) % 4
    test, test_y = separable(40, 4, seed=2)
    for probe in (
        lambda labels: probe_linear(
            {"x": x, "y": x.flip(1) ** 2}, y, {"x": test, "y": test.flip(1) ** 2}, labels, classes=4, seed=0
        ),
        lambda labels: probe_knn(x, y, test, labels, classes=4, seed=0),
    ):
        honest, poisoned = probe(test_y), probe((test_y + 1) % 4)
        assert (honest.chosen, honest.tried) == (poisoned.chosen, poisoned.tried)
        assert honest.metrics["top1"] > 0.9 > 0.1 > poisoned.metrics["top1"]


# --- the tool ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A small encoder with random weights, with its config inside as MMEngine writes it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.py").write_text(CONFIG)
    cfg = Config.fromfile(folder / "small.py")
    torch.manual_seed(1)
    backbone = MODELS.build({**cfg.model.backbone, "_scope_": "finevit"})
    weights = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save(
        {"meta": {"iter": 4, "cfg": cfg.pretty_text}, "state_dict": {**weights, "mask_token": torch.zeros(3)}},
        folder / "iter_4.pth",
    )
    return folder / "iter_4.pth"


@pytest.fixture
def tool(checkpoint, tmp_path, monkeypatch, capsys):
    """Runs the tool; what it printed, its exit status, its results and its page."""

    def run(*arguments: str, path: Path = checkpoint) -> tuple[str, int, dict, str]:
        work_dir = tmp_path / "work"
        monkeypatch.setattr(sys, "argv", ["probe.py", str(path), "--work-dir", str(work_dir), *arguments])
        status = 0
        try:
            runpy.run_path(str(ROOT / "tools/probe.py"), run_name="__main__")
        except SystemExit as ended:
            status = int(ended.code or 0)
        said, files = capsys.readouterr(), (work_dir / "results.json", work_dir / "probes.html")
        results, page = (file.read_text() if file.exists() else "" for file in files)
        return said.out + said.err, status, json.loads(results or "{}"), page

    return run


def test_the_tool_probes_embedded_scenes(tool):
    said, status, results, _ = tool("--probes", "knn", "--images", "16", "8")
    assert status == 0, said
    entry = results["benchmarks"]["probe/knn"]
    assert entry["protocols"] == {"knn": "knn/cosine-t0.07-v1"}
    assert 0 <= entry["metrics"]["top1"] <= 1
    assert "16/16" in said
    assert "MB of features in memory" in said
