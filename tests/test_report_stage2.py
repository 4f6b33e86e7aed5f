"""The page of Stage II: what is found, how similar pairs are, and that a run makes it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from sample_pages import Outline, pair_views, random, stage2_page
from test_report import config, decoded

from finevit.contracts import Record, Source
from finevit.ops.patches import patchify
from finevit.packing.images import pack_images
from finevit.plugins import load_plugins
from finevit.registry import REPORT_PAGES
from finevit.visualization import stage2
from finevit.visualization.pairs import LEGIBLE, POOL, collect, places, queries, similarity
from finevit.visualization.report import render
from finevit.visualization.retrieval import Heatmap, scale_of

# what is found


def asked(scores: list[list[float]], **options: int) -> list:
    matrix = torch.tensor(scores)
    place = (matrix >= matrix.diagonal()[:, None]).sum(1)
    return queries(matrix, place, None, **options)


def test_a_query_shows_the_best_and_the_truth():
    scores = [[0.1, 0.9, 0.5, 0.3], [0.0, 1.0, 0.2, 0.1], [0.4, 0.3, 0.6, 0.5], [0.9, 0.8, 0.7, 0.6]]
    found = {query.pair: query for query in asked(scores, count=4, top=3)}
    assert [(hit.pair, hit.rank, hit.true) for hit in found[0].hits] == [(1, 1, False), (2, 2, False), (0, 4, True)]
    assert [(hit.pair, hit.rank, hit.true) for hit in found[2].hits] == [(2, 1, True), (3, 2, False), (0, 3, False)]
    assert found[0].hits[2].score == pytest.approx(0.1)
    assert (found[0].rank, found[1].rank, found[0].untrained) == (4, 1, None)


def test_failures_come_first_worst_first_then_the_narrowest_success():
    scores = torch.eye(10) + torch.full((10, 10), 0.1)
    scores[3, :5] = 2.0  # rank 5
    scores[3, 3] = 1.5
    scores[7, 0] = 3.0  # rank 2
    scores[5, 6] = 1.0  # first, by a tenth
    chosen = asked(scores.tolist(), count=4)
    assert [(query.pair, query.rank) for query in chosen[:2]] == [(3, 5), (7, 2)]
    assert chosen[2].pair == 5
    assert [query.rank for query in chosen[2:]] == [1, 1]
    assert len(asked(torch.eye(10).tolist(), count=4)) == 4
    assert len(asked((1 - torch.eye(10)).tolist(), count=4)) == 4
    assert len(asked(torch.eye(2).tolist(), count=6)) == 2


def test_places_are_ranks_and_a_broken_model_finds_nothing():
    views = pair_views(6, noise=0.0)
    assert [place.tolist() for place in places(views)] == [[1] * 6, [1] * 6]
    swapped = [view._replace(image=views[(i + 1) % 6].image) for i, view in enumerate(views)]
    assert min(places(swapped)[0]) > 1
    broken = [view._replace(image=view.image * float("nan")) for view in views]
    assert [place.tolist() for place in places(broken)] == [[6] * 6, [6] * 6]
    assert similarity(broken).unique().tolist() == [-1]
    assert "rank 6" in Outline(stage2.sections([], broken)[0].html).text


def test_views_keep_thumbnails_and_the_first_of_several_captions():
    wide = np.zeros((28, 700, 3), np.uint8)
    several = {"captions_list": ["one two", "three"], "truncated": [True, False]}
    values = {"image": random(4), "text": random(4), "tokens": random(100, 2)}
    views: list = []
    collect(
        views, pack_images([patchify(wide, 14)] * 2, [(2, 50)] * 2), [{**values, **several}, {**values, "caption": "x " * 5000}], 1
    )
    assert decoded(views[0].picture).shape == (6, 144, 3)
    assert (views[0].caption, views[0].words, views[0].truncated) == ("one two", 2, True)
    assert (views[1].words, len(views[1].caption), views[1].truncated) == (5000, LEGIBLE + 2, False)
    assert (views[0].tokens is None, views[1].tokens is None) == (False, True)
    for _ in range(POOL):
        collect(views, pack_images([patchify(wide, 14)], [(2, 50)]), [values], 1)
    assert len(views) == POOL


# similarities


def test_heatmaps_share_a_scale_whose_ends_are_the_ends_of_the_values():
    first, second = torch.eye(3), torch.full((3, 3), -0.5)
    scale = scale_of([first, second])
    assert (scale.low, scale.high) == (-0.5, 1.0)
    drawn = Heatmap.of("trained", first, scale)
    assert (drawn.pairs, drawn.others) == (1.0, 0.0)
    pixels = decoded(drawn.picture)
    assert pixels.shape == (3, 3, 3)
    assert pixels[0, 0].tolist() == [253, 231, 37]  # the bright end of the map
    assert decoded(Heatmap.of("untrained", second, scale).picture)[1, 2].tolist() == [68, 1, 84]
    assert scale.gradient.startswith("linear-gradient(to right, rgb(68 1 84), ")
    assert scale.gradient.endswith("rgb(253 231 37))")


def test_each_heatmap_has_its_own_scale_so_that_a_faint_diagonal_shows(tmp_path):
    """An untrained model's similarities lie between 0.998 and 1: on the trained one's scale, one colour."""
    faint = torch.full((3, 3), 0.998) + 0.002 * torch.eye(3)
    drawn = Heatmap.of("untrained", faint, scale_of([faint]))
    pixels = decoded(drawn.picture)
    assert pixels[0, 0].tolist() == [253, 231, 37]
    assert pixels[0, 1].tolist() == [68, 1, 84]
    assert drawn.scale.ends == ("0.9980", "1.0000")
    assert scale_of([torch.tensor([-0.5, 1.0])]).ends == ("−0.50", "1.00")
    html = render(stage2_page(tmp_path))
    assert html.count('<div class="scale">') == 2
    ends = re.findall(r'<div class="scale"><span>([^<]*)</span><i [^>]*></i><span>([^<]*)</span>', html)
    assert len(set(ends)) == 2


def test_lightness_grows_with_the_value():
    pixels = decoded(Heatmap.of("", torch.linspace(0, 1, 64).reshape(8, 8), scale_of([torch.tensor([0.0, 1.0])])).picture)
    lightness = (pixels.reshape(-1, 3) @ np.array([0.2126, 0.7152, 0.0722])).tolist()
    assert lightness == sorted(lightness)


# page


def test_page_tells_the_figures(tmp_path):
    page = stage2_page(tmp_path)
    figures = {figure.label: figure for figure in page.figures}
    assert figures["Recall at 1"].value == "84.4%"
    assert figures["Recall at 1"].note == "untrained 6.2%; mean of both ways, 24 unseen images"
    assert figures["Text → image"].value == "85.4%"
    assert figures["Image → text"].note == "R@1; R@5 89.4% · R@10 94.4%"
    assert (figures["Truncated"].value, figures["Zero-shot"].value) == ("12.5%", "25.0%")
    assert figures["Training took"].note.startswith("32.0 images/s")
    assert [chart.title for chart in page.charts] == [
        "Loss",
        "R@1 among unseen images",
        "R@1 against caption length",
        "Learned temperature",
        "Learned logit_bias",
        "Learning rate",
        "Images per second",
        "Max seq len",
    ]
    assert [section.title for section in page.sections] == [
        "What a caption finds",
        "What an image finds",
        "How similar they are",
        "What it sees",
    ]


def test_page_is_one_small_balanced_file_that_loads_nothing(tmp_path):
    html = render(stage2_page(tmp_path))
    outline = Outline(html)
    for text in (
        "84.4%",
        "retrieval/recall-v1",
        "24 scenes",
        "<b>bold</b> & “quotes” 🦋",
        "שלום",
        "<small> & kind",
        "untrained: rank",
    ):
        assert text in outline.text
    assert "<b>bold" not in html
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|<script", re.sub(r"base64,[A-Za-z0-9+/=]+", "", html))
    assert all(target.startswith(("data:image/", "#")) for target in outline.loads)
    assert outline.tags.count("img") == 6 * 6 + 6 + 2 + 3 * 3
    assert len(html.encode()) < 3_000_000


def test_an_untrained_set_of_other_images_is_left_out(tmp_path):
    after = pair_views(20, noise=0.5)
    assert len(stage2.sections([], after)[2].html.split("<figure>")) == 2
    assert stage2.sections([], after[:1]) == []
    assert "untrained" not in stage2.sections([], after)[0].html


# hook


class Colours(Source):
    """Plain images of a colour and a caption that names it."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Record:
        image = np.full((56, 56, 3), (12 * index, 255 - 12 * index, 60 * (index % 4)), np.uint8)
        return Record(id=f"colour-{index}", image=image, captions={"long": f"The picture has a house and {index} red stars."})

    def describe(self) -> str:
        return "20 plain colours"


def contrastive(folder: Path) -> dict:
    settings = config(folder, report=True, steps=6)
    arch = {"depth": 1, "dim": 32, "heads": 2, "mlp_dim": 64}
    settings["model"] = {
        "type": "ContrastiveLearning",
        "backbone": {"type": "FineViT", "arch": arch},
        "text_encoder": {"type": "TextTransformer", "depth": 1, "dim": 32, "heads": 2, "context": 32},
        "head": {"type": "SigmoidHead", "embed_dim": 16},
    }
    for name in ("train_dataloader", "val_dataloader"):
        steps = [
            {"type": "PickCaption"},
            {"type": "ResizeToBudget"},
            {"type": "Patchify"},
            {"type": "Tokenize", "tokenizer": "scenes"},
        ]
        settings[name]["dataset"] = {"type": "NativeImages", "source": Colours(), "transforms": steps, "max_seq_len": 32}
        settings[name]["collate_fn"] = {"type": "finevit.pack_samples", "keys": ["id", "caption", "truncated"]}
    settings["train_dataloader"]["batch_sampler"]["schedules"] = {"Tokenize": {"max_seq_len": {"type": "Constant", "value": 32}}}
    settings["train_dataloader"]["batch_size"] = 8
    settings["val_evaluator"] = [{"type": "Retrieval"}]
    return settings


def run(settings: dict) -> None:
    load_plugins()
    Runner(**settings, cfg=Config({"config": "of the test"})).train()


def test_a_run_of_stage_two_makes_its_page(tmp_path):
    run(contrastive(tmp_path / "run"))
    outline = Outline((tmp_path / "run/report.html").read_text())
    for text in (
        "FineViT, Stage II",
        "Recall at 1",
        "20 plain colours",
        "and 7 red stars",
        "Learned temperature",
        "untrained: rank",
    ):
        assert text in outline.text
    assert outline.tags.count("img") == 6 * 6 + 6 + 2 + 4 * 3
    evaluations = json.loads((tmp_path / "run/results.json").read_text())["evaluations"]
    assert [entry["iteration"] for entry in evaluations] == [0, 3, 6]


def test_a_stage_without_a_page_gets_its_results_alone(tmp_path, monkeypatch):
    assert REPORT_PAGES.get("MaskedDistillation")
    monkeypatch.delitem(REPORT_PAGES.module_dict, "MaskedDistillation")
    run(config(tmp_path / "run", report=True, steps=2))
    assert (tmp_path / "run/results.json").exists()
    assert not (tmp_path / "run/report.html").exists()
