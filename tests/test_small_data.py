"""What a small set of own images means for a run is said, with figures and a remedy."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from finevit.config.loading import load_config
from finevit.contracts import Record, Source
from finevit.datasets.readers import open_source
from finevit.datasets.samplers import NativeBatchSampler
from finevit.engine.hooks.small_data_hook import few, foreign, repeats
from finevit.evaluation.contrastive_metrics import Retrieval, ZeroShot
from finevit.registry import DATA_SAMPLERS, TRANSFORMS
from finevit.scenes.source import Scenes

pytestmark = pytest.mark.usefixtures("plugins")

PEOPLE = (
    "A man riding a wave on top of a surfboard.",
    "Two giraffes standing next to each other near trees.",
    "A kitchen with stainless steel appliances and granite countertops.",
)


@pytest.fixture
def warned(monkeypatch):
    said: list[str] = []
    keep = lambda text, logger, level: said.append(text) if level == logging.WARNING else None  # noqa: E731
    monkeypatch.setattr("finevit.evaluation.contrastive_metrics.print_log", keep)
    return said


class Captions(Source):
    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Record:
        return Record(str(index), np.zeros((28, 28, 3), np.uint8), {"alt": self.texts[index]} if self.texts[index] else {})

    def describe(self) -> str:
        return "captions"


class Scored:
    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return 3


def evaluated(images: int) -> dict[str, float]:
    metric, vectors = Retrieval(), torch.nn.functional.normalize(torch.randn(images, 8), dim=-1)
    for index, vector in enumerate(vectors):
        metric.process({}, [{"id": str(index), "image": vector, "texts": -vector[None]}])
    return metric.evaluate(images)


@pytest.mark.parametrize(("images", "certain", "r1"), [(1, "R@1, R@5, R@10", 1.0), (5, "R@5, R@10", 0.2), (10, "R@10", 0.1)])
def test_scores_that_no_model_can_miss_are_told_with_chance(images, certain, r1, warned):
    values = evaluated(images)
    assert values["stage2/chance_r1"] == r1
    assert values["stage2/chance_r10"] == 1.0
    (said,) = warned
    assert f"{images} images, {images} captions: text -> image, {certain} is 1 whatever" in said
    assert f"R@1 is {r1:.2f} by chance" in said


def test_enough_images_have_no_chance_beside_them(warned):
    assert not [key for key in evaluated(11) if "chance" in key]
    assert warned == []


def test_one_class_is_told(warned):
    metric = ZeroShot(protocols=["openai80"])
    metric.prepare(lambda texts: torch.ones(len(texts), 4), ["dog"])
    assert warned[0].startswith("ZeroShot: there is one class, 'dog': top-1 is 1 whatever the model has learned")
    metric.prepare(lambda texts: torch.ones(len(texts), 4), ["dog", "cat"])
    assert len(warned) == 1


def test_few_images_to_validate_on():
    said = few("val_dataloader", [0])
    assert said.startswith("val_dataloader: 1 image, too few for scores that say much (each is 100% of them); of one image its own")
    assert "train_dataloader.dataset.source.holdout=0.2 val_dataloader.dataset.source.holdout=0.2" in said
    assert few("val_dataloader", [0] * 20).startswith("val_dataloader: 20 images, too few for scores that say much (each is 5% of")
    assert few("val_dataloader", [0] * 50) == ""


def test_few_images_are_told_with_what_helps_this_source(tmp_path):
    for name in range(3):
        Image.new("RGB", (28, 28)).save(tmp_path / f"{name}.png")
    own, kept = (open_source(data_root=tmp_path, split=split, holdout=0.5) for split in ("all", "train"))
    remedies = [
        few("val_dataloader", Scored(source), retrieval=False).rpartition("; ")[2] for source in (own, kept, Scenes(length=3))
    ]
    assert remedies[0] == "give more"  # of a set for validation alone nothing can be held out
    assert remedies[1].startswith("hold out more of own data, by --cfg-options train_dataloader.dataset.source.holdout=0.2 ")
    assert remedies[2] == "draw more scenes, by --cfg-options val_dataloader.dataset.source.length=256"


def test_where_no_captions_are_looked_for_nothing_is_said_of_them():
    assert "R@1" in few("val_dataloader", [0])
    assert few("val_dataloader", [0], retrieval=False).partition("; ")[0].endswith("(each is 100% of them)")
    assert "R@1" not in few("val_dataloader", [0], retrieval=False)


def test_the_remedy_of_few_images_is_a_setting(tmp_path):
    options = {f"{loader}_dataloader.dataset.source.holdout": 0.2 for loader in ("train", "val")}
    cfg = load_config("configs/finevit_tiny_stage2.py", {"data_root": str(tmp_path), **options})
    assert [cfg[f"{loader}_dataloader"].dataset.source.get("holdout") for loader in ("train", "val")] == [0.2, 0.2]


def batches(images: int, size: int, **options: object) -> NativeBatchSampler:
    order = DATA_SAMPLERS.build({"type": "StatelessSampler", "dataset": range(images), **options})
    return NativeBatchSampler(sampler=order, batch_size=size, resolution={"type": "ConstantResolution", "side": 56})


def test_images_twice_in_a_batch_are_counted():
    said = repeats(batches(5, 8), 100)
    assert said.startswith(
        "train_dataloader: 5 images for batches of 8: 100 of the first 100 batches hold images twice or more, 3."
    )
    assert "lower train_dataloader.batch_size (to 2 at most)" in said
    assert repeats(batches(8, 8), 100) == "", "each batch is an epoch"
    assert repeats(batches(400, 8), 100) == ""
    assert repeats(None, 100) == ""
    in_order = repeats(batches(10, 8, shuffle=False), 10)
    assert in_order == "", "in order, no eight of ten in a row repeat"
    assert "of the first 40 batches hold images twice" in repeats(batches(12, 8), 40), "where one epoch meets the next"


@pytest.mark.parametrize(
    ("transform", "setting"),
    [
        ({"type": "Tokenize", "tokenizer": "scenes"}, "--size 8192 --out data/tokenizer, and set model.text_encoder.tokenizer="),
        ({"type": "AllCaptions", "tokenizer": "scenes"}, "model.text_encoder.tokenizer=data/tokenizer"),
        (
            {"type": "TokenizeDialogue", "tokenizer": "scenes-chat"},
            "--size 8192 --chat --out data/tokenizer, and set model.llm.tok",
        ),
    ],
)
def test_people_s_captions_are_not_for_the_tokenizer_of_the_scenes(transform, setting):
    built = TRANSFORMS.build(transform)
    said = foreign(built, Captions(PEOPLE), "my/data")
    assert said.startswith(f"tokenizer={transform['tokenizer']!r} is that of the embedded scenes, of 1,024 ids: it takes ")
    assert "finevit train-tokenizer --data-root my/data --size" in said
    assert setting in said
    scenes = Scenes(level="signs", split="train", length=20)
    told = Captions(tuple(text for index in range(4) for text in scenes[index].captions.values()))
    assert foreign(built, told, None) == "", "scenes that lie in files"
    assert foreign(built, Captions(("",)), None) == ""


def test_other_tokenizers_are_taken_as_they_are():
    assert foreign(TRANSFORMS.build({"type": "Tokenize", "tokenizer": "minilm"}), Captions(PEOPLE), None) == ""
    assert foreign(SimpleNamespace(), Captions(PEOPLE), None) == ""
