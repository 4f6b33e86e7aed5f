"""The tool that probes a frozen encoder: what it reaches, keeps and shows, the layouts that it reads, and its errors."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from finevit.evaluation.probes.data import folders
from finevit.evaluation.probes.features import precision
from finevit.precision import bfloat16_helps
from finevit.registry import MODELS

ROOT = Path(__file__).parents[1]
CONFIG = f"""
_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_scenes.py"]
model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch=dict(depth=2, dim=32, heads=2, mlp_dim=48)),
    teacher=dict(type="PackagedDinov2Small"),
    head=dict(type="DistillationHead"),
)
val_dataloader = dict(batch_size=4, dataset=dict(pixels=84 * 84))
"""


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


@pytest.fixture
def quick(monkeypatch):
    """Fewer steps: what the tool does is looked at, not how well."""
    for probe, least in (("linear", 30), ("attentive", 10), ("segmentation", 10)):
        monkeypatch.setattr(f"finevit.evaluation.probes.{probe}.LEAST", least)


def test_the_tool_probes_embedded_scenes(tool, quick):
    said, status, results, page = tool("--images", "16", "12", "--untrained", "--foreground")
    assert status == 0, said
    found = {name.removeprefix("probe/"): entry for name, entry in results["benchmarks"].items()}
    assert list(found) == ["linear", "knn", "attentive", "segmentation", "regions"]
    assert found["knn"]["protocols"] == {"knn": "knn/cosine-t0.07-v1"}
    assert found["linear"]["probe"]["train_images"] == 16
    assert found["linear"]["probe"]["precision"] == precision()
    assert precision().startswith("encoder in bfloat16" if bfloat16_helps() else "encoder in float32")
    assert f"precision: {precision()}" in said
    assert "Precision" in page
    assert found["linear"]["probe"]["test_images"] == found["linear"]["data"]["images"] == 12
    assert found["linear"]["probe"]["pixels"] == 84 * 84
    assert found["linear"]["probe"]["chosen"]["learning_rate"] in {
        float(name.split("lr=")[1]) for name in found["linear"]["probe"]["tried"]
    }
    assert found["linear"]["data"]["description"].startswith("learned from 16 images of embedded scenes, level easy, train")
    assert found["segmentation"]["metrics"].keys() >= {"miou", "untrained_miou"}
    assert found["regions"]["metrics"]["test_regions"] >= 12
    assert "16/16" in said
    assert "MB of features in memory" in said
    for title in ("What was reached", "What the patches look like", "How it segments", "What regions find"):
        assert title in page
    assert page.count("data:image/") > 40
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_tool_is_deterministic_and_keeps_what_was_measured_before(tool, quick):
    first = tool("--probes", "linear", "--images", "12", "8")[2]["benchmarks"]["probe/linear"]
    benchmarks = tool("--probes", "knn", "--images", "12", "8")[2]["benchmarks"]
    assert list(benchmarks) == ["probe/linear", "probe/knn"]
    assert benchmarks["probe/linear"] == first
    assert tool("--probes", "linear", "--images", "12", "8")[2]["benchmarks"]["probe/linear"] == first


def test_the_tool_reads_classes_maps_and_objects_of_a_folder(tool, quick, tmp_path):
    root = tmp_path / "mine"
    for split, count in (("train", 4), ("val", 3)):
        for name, colour in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
            for i in range(count):
                picture(root / split / name / f"{i}.png", colour, seed=i)
    maps(root)
    objects(root)
    said, status, results, page = tool("--data", str(root), "--pixels", "7056")
    assert status == 0, said
    found = {name.removeprefix("probe/"): entry["probe"] for name, entry in results["benchmarks"].items()}
    assert {name: (entry["train_images"], entry["test_images"]) for name, entry in found.items()} == {
        "linear": (8, 6), "knn": (8, 6), "attentive": (8, 6), "segmentation": (3, 2), "regions": (3, 2),
    }  # fmt: skip
    assert "INCOMPLETE: 1 unusable images left out" in results["benchmarks"]["probe/segmentation"]["data"]["description"]
    assert results["benchmarks"]["probe/regions"]["metrics"]["test_regions"] == 4
    assert "cat" in page


def picture(path: Path, colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (84, 56)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grain = np.random.default_rng(seed).integers(0, 50, (size[1], size[0], 3))
    Image.fromarray((np.array(colour) + grain).astype(np.uint8)).save(path)


def maps(root: Path) -> None:
    """Three images to learn from and two to test on, with label maps; one more whose map is of another size."""
    for split, count in (("training", 3), ("validation", 3)):
        for i in range(count):
            picture(root / f"images/{split}/{i}.png", (90, 90, 90), seed=i)
            label_map = np.full((56, 84) if (split, i) != ("validation", 2) else (20, 20), 1, np.uint8)
            label_map[:10], label_map[10:20] = 0, 2
            (root / f"annotations/{split}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(label_map).save(root / f"annotations/{split}/{i}.png")


def objects(root: Path) -> None:
    """A cat and a dog in each image; crowds and images without objects do not count. Images lie beside the classes' folders."""
    for split, count in (("train", 3), ("val", 2)):
        images = [{"id": i, "file_name": f"{i}.png", "width": 84, "height": 56} for i in range(count + 1)]
        annotations = [
            {"id": 10 * i + k, "image_id": i, "bbox": [42 * k, 0, 42, 56], "category_id": (7, 3)[k], "iscrowd": 0}
            for i in range(count)
            for k in range(2)
        ]
        annotations.append({"id": 99, "image_id": 0, "bbox": [0, 0, 84, 56], "category_id": 3, "iscrowd": 1})
        categories = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = root / f"annotations/instances_{split}2017.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        for i in range(count):
            picture(root / f"{split}2017/{i}.png", (0, 90 * i, 50), seed=i)


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ("linear", r"has no folder val; it holds train/; linear expects train/ and val/ with one folder of images a class"),
        ("segmentation", r"has no folder images/training and no folder images/validation and no folder annotations/training"),
        ("regions", r"where one instances_train\*\.json is needed; regions expects train\*/ and val\*/ with images"),
    ],
)
def test_a_wrong_layout_names_the_folder_and_what_was_expected(tmp_path, probe, expected):
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=expected):
        folders(tmp_path, [probe])


def test_classes_must_be_those_of_both_sets(tmp_path):
    for name in ("train/a", "train/b", "val/a", "val/c"):
        picture(tmp_path / name / "0.png", (1, 2, 3), seed=0)
    with pytest.raises(
        ValueError, match=r"hold different classes: 2 are in one of them alone \(b, c\); give both the same folders"
    ):
        folders(tmp_path, ["knn"])


def test_the_tool_says_what_is_wrong_without_a_traceback(tool, tmp_path, checkpoint):
    (tmp_path / "empty").mkdir()
    bare = tmp_path / "bare.pth"
    torch.save({"state_dict": {"backbone.x": torch.zeros(1)}}, bare)
    torn = tmp_path / "torn.pth"
    torn.write_bytes(bare.read_bytes()[:200])
    for arguments, path, expected in (
        (
            ("--data", str(tmp_path / "empty")),
            checkpoint,
            "holds nothing; expected train/ and val/ with one folder of images a class",
        ),
        (("--data", str(tmp_path / "emty")), checkpoint, "does not exist (did you mean 'empty'?)"),
        (("--images", "1", "8"), checkpoint, "--images 1 8: give at least 2 training and 2 test images"),
        (("--pixels", "10"), checkpoint, "--pixels 10: give an area of at least 784 pixels"),
        ((), bare, "holds no config; give the one that it was trained with by --config FILE"),
        (("--config", str(checkpoint.parent / "small.py")), bare, "\n  backbone.x: unexpected\n"),
        ((), torn, f"checkpoint={str(torn)!r} cannot be read as a checkpoint ("),
        ((), tmp_path / "ton.pth", "/ton.pth' does not exist (did you mean 'torn.pth'?); give one that finevit train wrote"),
    ):
        said, status, results, _ = tool(*arguments, path=path)
        assert (status, results) == (2, {}), said
        assert expected in said
        assert "Traceback" not in said
