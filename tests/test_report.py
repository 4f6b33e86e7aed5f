"""Colour maps, charts, the report page, and the hook that makes it."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from sample_pages import Outline, random, stage1_page, view

from finevit.contracts import BadSample, Record, Source
from finevit.engine.hooks.report_hook import check_told
from finevit.evaluation.results import Results
from finevit.ops.patches import patchify
from finevit.packing.images import pack_images
from finevit.plugins import load_plugins
from finevit.visualization.gallery import GREY, columns, masked, views
from finevit.visualization.pca import colour_basis, colour_maps
from finevit.visualization.plots import Series, line_chart, running_mean
from finevit.visualization.report import Chart, Figure, Page, Run, render, write
from finevit.visualization.stage1 import MaskedDistillationPage

# colours


def test_colours_recover_three_known_directions():
    hidden = torch.rand(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.tensor([9.0, 3.0, 1.0])
    directions = torch.linalg.qr(random(20, 3).double()).Q
    features = hidden @ directions.T + 5
    colours = colour_basis(features, tail=0).colours(features)
    assert colours.min() == 0
    assert colours.max() == 1
    for channel in range(3):
        correlation = np.corrcoef(colours[:, channel], hidden[:, channel])[0, 1]
        assert abs(correlation) > 0.98


def test_colours_of_other_features_use_the_same_basis_and_are_clamped():
    basis = colour_basis(random(100, 8))
    assert torch.equal(basis.colours(random(100, 8)[:7]), basis.colours(random(100, 8))[:7])
    far = basis.colours(1000 * random(50, 8, seed=1))
    assert (far.min(), far.max()) == (0, 1)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_missing_directions_are_medium_grey(rank):
    features = random(50, rank) @ random(rank, 6, seed=1) if rank else torch.ones(50, 6)
    colours = colour_basis(features).colours(features)
    assert colours[:, rank:].sub(0.5).abs().max() < 1e-3
    assert all(colours[:, channel].std() > 0.1 for channel in range(rank))


def test_maps_share_one_basis_and_keep_the_raster_order():
    features, shapes = [random(6, 5), random(4, 5, seed=1)], [(2, 3), (4, 1)]
    first, second = colour_maps(features, shapes)
    together = colour_basis(torch.cat(features)).colours(torch.cat(features))
    assert torch.equal(torch.cat((first.reshape(-1, 3), second.reshape(-1, 3))), together)
    assert first.shape == (2, 3, 3)


# charts


def test_running_mean_by_hand():
    assert running_mean([1, 3, 5, 7], 2).tolist() == [1, 2, 4, 6]
    assert running_mean([1, float("nan"), 5], 2).tolist() == [1, 1, 5]
    assert np.isnan(running_mean([float("nan"), 2], 3)[0])


def test_charts_take_the_colour_of_the_page_and_load_nothing():
    svg = line_chart(
        "Loss", {"a": Series(range(2000), np.linspace(9, 0.1, 2000), smooth=20), "b": Series([0, 1], [1, 2], marked=True)}
    )
    outline = Outline(svg)
    assert outline.tags[0] == "svg"
    assert "currentColor" in svg
    assert "http" not in svg
    assert all(target.startswith("#") and target[1:] in outline.ids for target in outline.loads)
    assert len(svg) < 80_000
    assert svg == line_chart(
        "Loss", {"a": Series(range(2000), np.linspace(9, 0.1, 2000), smooth=20), "b": Series([0, 1], [1, 2], marked=True)}
    )


def test_charts_bear_one_point_and_missing_values():
    assert "<svg" in line_chart("One", {"a": Series([1], [2.0])})
    assert "<svg" in line_chart("Gap", {"a": Series([1, 2, 3], [2.0, float("nan"), float("inf")], smooth=2)})


# gallery


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def test_views_are_the_first_images_of_a_batch():
    images = [
        np.random.default_rng(i).integers(0, 256, (28, 14 * columns, 3), dtype=np.uint8) for i, columns in enumerate((2, 4, 6))
    ]
    packed = pack_images([patchify(image, 14) for image in images], [(2, 2), (2, 4), (2, 6)])
    predictions = [
        {"target": random(n, 3), "prediction": random(n, 3), "tokens": random(n, 5), "mask": torch.ones(n).bool()}
        for n in packed.seqlens
    ]
    found = views(packed, predictions, 2)
    assert len(found) == 2
    assert np.array_equal(found[1].image, images[1])
    assert found[1].tokens.shape == (8, 5)


def test_masked_patches_are_grey_and_the_others_untouched():
    one = view(0)
    hidden = masked(one)
    for patch in range(24):
        row, column = divmod(patch, 6)
        cell = (slice(14 * row, 14 * row + 14), slice(14 * column, 14 * column + 14))
        assert (hidden[cell] == GREY).all() if one.mask[patch] else torch.equal(hidden[cell], one.image[cell])


def test_columns_show_before_and_after_in_the_colours_of_the_teacher():
    before, after = [view(0), view(1, (2, 3))], [view(0), view(1, (2, 3))]
    after = [v._replace(prediction=v.target) for v in after]
    shown = {column.title: column for column in columns(before, after)}
    assert list(shown) == ["Image", "Masked", "Teacher", "Prediction before", "Prediction after", "Tokens before", "Tokens after"]
    assert shown["Prediction after"].pictures == shown["Teacher"].pictures
    assert shown["Prediction before"].pictures != shown["Teacher"].pictures
    assert [decoded(picture).shape for picture in shown["Teacher"].pictures] == [(4, 6, 3), (2, 3, 3)]
    assert decoded(shown["Image"].pictures[0]).shape == (56, 84, 3)


def test_without_a_before_there_is_only_an_after():
    assert [column.title for column in columns([], [view(0)])] == ["Image", "Masked", "Teacher", "Prediction after", "Tokens after"]
    assert columns([], []) == []


# page


@pytest.fixture
def page_of_stage1(tmp_path) -> Page:
    return stage1_page(tmp_path)


def test_page_tells_the_figures(page_of_stage1):
    figures = {figure.label: figure for figure in page_of_stage1.figures}
    assert figures["Masked R²"].value == "0.375"
    assert "untrained −0.25" in figures["Masked R²"].note
    assert figures["Patch probe"].value == "50.0%"
    assert "untrained 12.5%, +37.5 points" in figures["Patch probe"].note
    assert figures["Teacher's probe"].value == "75.0%"
    assert figures["Encoder"].value == "5.27 M"
    assert figures["Images seen"].value == "1,600"
    assert figures["Training took"].value == "0.8 min"
    assert figures["Training took"].note.startswith("32.0 images/s")
    titles = [chart.title for chart in page_of_stage1.charts]
    assert titles[0] == "Loss"
    assert "Mask ratio" in titles
    assert "Constant" not in titles


def test_page_is_one_balanced_file_that_loads_nothing(page_of_stage1, tmp_path):
    path = write(page_of_stage1, tmp_path / "report.html")
    html = path.read_text()
    outline = Outline(html)
    assert html.startswith("<!DOCTYPE html>")
    for text in ("0.375", "+37.5 points", "masked-r2/v1", "40 scenes", "DINOv2 <small> & kind", "MaskedDistillation"):
        assert text in outline.text
    assert "<small>" not in html
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"base64,[A-Za-z0-9+/=]+", "", html))
    assert all(target.startswith(("data:image/", "#")) for target in outline.loads)
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.tags.count("img") == 2 * 7
    assert len(html) < 3_000_000


def test_page_without_evaluation_or_pictures(tmp_path):
    bare = MaskedDistillationPage().page(
        Run(scalars={}, results=Results(tmp_path), steps=2, batch=1, parameters=0, facts=[], before=[], after=[], config="")
    )
    assert [figure.label for figure in bare.figures] == ["Encoder", "Images seen"]
    assert "What it sees" not in Outline(render(bare)).text
    Outline(render(Page(title="t", figures=[Figure("a", "<b>")], charts=[Chart("c", "<svg></svg>")])))


# hook


class Stripes(Source):
    """Striped images of two classes with label maps."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Record:
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (56, 84, 3), dtype=np.uint8)
        image[:, :, index % 2] = 255
        return Record(id=str(index), image=image, label_map=np.full((56, 84), index % 4 // 2, np.int16))

    def describe(self) -> str:
        return f"{self.count} striped images"


def config(folder: Path, *, report: bool, steps: int = 6) -> dict:
    loader = {
        "num_workers": 0,
        "collate_fn": {"type": "finevit.pack_samples", "keys": ["labels", "id"]},
        "dataset": {"type": "NativeImages", "transforms": [{"type": "ResizeToBudget"}, {"type": "Patchify"}]},
    }
    return {
        "model": {
            "type": "MaskedDistillation",
            "backbone": {"type": "FineViT", "arch": {"depth": 1, "dim": 32, "heads": 2, "mlp_dim": 64}},
            "teacher": {"type": "RandomFeatureTeacher", "dim": 8},
            "head": {"type": "DistillationHead", "target_norm": "channel"},
        },
        "train_dataloader": {
            **loader,
            "dataset": {**loader["dataset"], "source": Stripes(40)},
            "sampler": {"type": "StatelessSampler"},
            "batch_size": 2,
            "batch_sampler": {"type": "NativeBatchSampler", "resolution": {"type": "ConstantResolution", "side": 84}},
        },
        "val_dataloader": {
            **loader,
            "batch_size": 3,
            "dataset": {**loader["dataset"], "source": Stripes(8)},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
        },
        "train_cfg": {"type": "StatelessTrainLoop", "max_iters": steps, "val_interval": 3},
        "val_cfg": {"type": "ValLoop"},
        "val_evaluator": [{"type": "ExplainedVariance"}, {"type": "PatchProbe"}],
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1e-2}},
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False},
            "logger": {"type": "LoggerHook", "interval": 100},
            "sampler_seed": None,
        },
        "custom_hooks": [{"type": "ReportHook", "images": 4}] if report else [],
        "log_processor": {"type": "LogProcessor", "by_epoch": False},
        "randomness": {"seed": 0},
        "default_scope": "finevit",
        "log_level": "ERROR",
        "work_dir": str(folder),
        "experiment_name": f"{folder.parent.name}_{folder.name}",  # MMEngine allows each name once a second
    }


def trained(settings: dict) -> dict[str, torch.Tensor]:
    load_plugins()
    runner = Runner(**settings, cfg=Config({"config": "of the test"}))
    return {name: value.clone() for name, value in runner.train().state_dict().items()}


def test_hook_reports_without_touching_the_training(tmp_path):
    plain = trained(config(tmp_path / "plain", report=False))
    shown = trained(config(tmp_path / "shown", report=True))
    assert all(torch.equal(plain[name], shown[name]) for name in plain)
    content = json.loads((tmp_path / "shown/results.json").read_text())
    assert [entry["iteration"] for entry in content["evaluations"]] == [0, 3, 6]
    assert set(content["protocols"]) == {"ExplainedVariance", "PatchProbe"}
    assert content["evaluations"][0]["stage1/r2"] < content["evaluations"][-1]["stage1/r2"]
    outline = Outline((tmp_path / "shown/report.html").read_text())
    assert outline.tags.count("img") == 4 * 7
    assert "8 striped images" in outline.text


def test_results_tell_what_an_evaluation_lacks(tmp_path, monkeypatch):
    whole = Stripes.__getitem__

    def torn(self, index: int) -> Record:
        if len(self) == 8 and index == 3:
            raise BadSample("3: damaged")
        return whole(self, index)

    monkeypatch.setattr(Stripes, "__getitem__", torn)
    trained(config(tmp_path / "run", report=True, steps=1))
    told = json.loads((tmp_path / "run/results.json").read_text())["data"]
    assert told == {"description": "8 striped images; INCOMPLETE: 1 unusable images left out", "images": 7}


def test_report_of_a_resumed_run_reaches_back_to_its_start(tmp_path):
    whole, cut = config(tmp_path / "whole", report=True), config(tmp_path / "cut", report=True)
    trained(whole)
    trained({**cut, "train_cfg": {**cut["train_cfg"], "max_iters": 4}})
    checkpoint = str(tmp_path / "cut/iter_3.pth")
    weights = trained({**cut, "resume": True, "load_from": checkpoint, "experiment_name": "again"})
    assert all(torch.isfinite(value).all() for value in weights.values())
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "cut"))
    assert first == second
    pictures = [re.findall(r'src="(data:[^"]*)"', (tmp_path / name / "report.html").read_text()) for name in ("whole", "cut")]
    assert pictures[0] == pictures[1]


def test_a_report_goes_without_what_was_lost(tmp_path):
    settings = config(tmp_path / "run", report=True) | {"log_level": "WARNING"}
    trained({**settings, "train_cfg": {**settings["train_cfg"], "max_iters": 4}})
    (tmp_path / "run/report_before.pt").write_bytes(b"half")
    trained({**settings, "resume": True, "load_from": str(tmp_path / "run/iter_3.pth"), "experiment_name": "lost"})
    log = "".join(path.read_text() for path in (tmp_path / "run").rglob("*.log"))
    assert "report_before.pt cannot be read" in log
    assert Outline((tmp_path / "run/report.html").read_text()).tags.count("img") < 4 * 7


def test_a_report_that_fails_does_not_cost_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr("finevit.visualization.report.write", lambda *_: 1 / 0)
    load_plugins()
    runner = Runner(**config(tmp_path / "run", report=True, steps=2), cfg=Config({"config": "of the test"}))
    assert runner.train()
    with pytest.raises(ValueError, match=r"report\.html: the report could not be written: Zero.* --resume writes it"):
        check_told(runner)
    log = next((tmp_path / "run").rglob("*.log")).read_text()
    assert "the report could not be written: ZeroDivisionError" in log
