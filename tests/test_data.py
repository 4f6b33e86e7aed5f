"""From records to packs: order, requests, transforms, bad samples."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from finevit.contracts import BadSample, ImageBudget, Record, Region, Source
from finevit.datasets import NativeImages
from finevit.datasets.samplers import NativeBatchSampler, StatelessSampler
from finevit.datasets.transforms.image_transforms import Patchify, RandomFlip, ResizeToBudget
from finevit.ops.stateless_shuffle import seed_of, shuffled
from finevit.packing.collate import pack_samples
from finevit.plugins import load_plugins

pytestmark = pytest.mark.usefixtures("scope")

TRANSFORMS = [{"type": "finevit.ResizeToBudget"}, {"type": "finevit.Patchify"}]


class Listed(Source):
    """Records, or errors in their place."""

    def __init__(self, items: Sequence[Record | None]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Record:
        if (item := self.items[index]) is None:
            raise BadSample(f"item {index} is broken")
        return item

    def describe(self) -> str:
        return "a list"


def image(height=56, width=84, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("length", [1, 2, 3, 64, 1000])
def test_every_epoch_visits_each_record_once(length):
    for epoch in range(3):
        order = [shuffled(p, length, seed=5) for p in range(epoch * length, (epoch + 1) * length)]
        assert sorted(order) == list(range(length))


def test_orders_differ_by_epoch_and_seed_and_look_random():
    first, second = ([shuffled(p, 1000, 0) for p in range(e * 1000, e * 1000 + 1000)] for e in (0, 1))
    other = [shuffled(p, 1000, 1) for p in range(1000)]
    assert first != second
    assert first != other
    assert abs(np.corrcoef(first, range(1000))[0, 1]) < 0.1
    assert abs(np.diff(first)).mean() == pytest.approx(333, abs=30)
    assert shuffled(10**15, 1_800_000_000, 0) < 1_800_000_000
    assert len({seed_of(0, step, rank) for step in range(100) for rank in range(8)}) == 800


def make_sampler(batch_size=4, rank=0, world_size=1, start=0) -> NativeBatchSampler:
    load_plugins()
    stateless = StatelessSampler(dataset=range(100), seed=3)
    sampler = NativeBatchSampler(
        sampler=stateless,
        batch_size=batch_size,
        resolution={"type": "LinearResolution", "begin_side": 112, "end_side": 224, "end": 10},
    )
    sampler.rank, sampler.world_size, sampler.start_step = rank, world_size, start
    return sampler


def test_a_resolution_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"resolution.type='Constant' is no resolution schedule"):
        NativeBatchSampler(sampler=StatelessSampler(dataset=range(9)), batch_size=2, resolution={"type": "Constant", "value": 0.5})


def take(sampler: NativeBatchSampler, steps: int) -> list:
    iterator = iter(sampler)
    return [next(iterator) for _ in range(steps)]


def test_a_resumed_sampler_continues():
    assert take(make_sampler(start=7), 5) == take(make_sampler(), 12)[7:]


def test_the_order_does_not_depend_on_the_number_of_ranks():
    whole = [request for batch in take(make_sampler(batch_size=8), 6) for request in batch]
    halves = [take(make_sampler(batch_size=4, rank=rank, world_size=2), 6) for rank in (0, 1)]
    assert [request for pair in zip(*halves, strict=True) for batch in pair for request in batch] == whole
    assert len(make_sampler(batch_size=8)) == 13


def test_requests_carry_the_budget_of_their_step():
    batches = take(make_sampler(), 12)
    assert batches[0][0].budget == ImageBudget(112 * 112)
    assert batches[11][0].budget == ImageBudget(224 * 224)
    assert len({request.budget for batch in batches for request in batch}) == 11


def make_dataset(items, **options) -> NativeImages:
    return NativeImages(source=Listed(items), transforms=TRANSFORMS, **options)


def test_a_sample_is_resized_and_cut():
    png = io.BytesIO()
    Image.fromarray(image(300, 200)).save(png, "PNG")
    sample = make_dataset([Record("a", png.getvalue())], pixels=112 * 112)[0]
    assert sample["shape"] == (10, 6)
    assert sample["patches"].shape == (60, 588)
    assert sample["patches"].dtype == np.uint8
    assert sample["skipped"] == []
    small = make_dataset([Record("a", image())], pixels=10**6)[0]
    assert np.array_equal(small["patches"][0].reshape(3, 14, 14), image()[:14, :14].transpose(2, 0, 1))


def test_bad_samples_are_replaced_and_named():
    good = Record("good", image())
    dataset = make_dataset([None, None, None, good, None])
    for index in range(5):
        sample = dataset[index]
        assert sample["id"] == "good"
        assert all("is broken" in message for message in sample["skipped"])
    assert dataset[3]["skipped"] == []
    assert dataset[0]["skipped"][0] == "item 0 is broken"
    with pytest.raises(BadSample, match=r"20 samples in a row[\s\S]*item 1 is broken"):
        make_dataset([None, None])[1]


@pytest.mark.parametrize("records", [1, 2, 7, 19, 20])
def test_a_record_that_cannot_be_used_is_named_once_and_every_other_is_tried(records):
    with pytest.raises(BadSample) as caught:
        make_dataset([None] * records)[0]
    several = f" ({records} different ones)" if records < 20 else ""
    head, *named = str(caught.value).splitlines()
    assert head == f"20 samples in a row cannot be used{several}; the data needs repair:"
    assert sorted(named) == sorted(f"item {index} is broken" for index in range(records))
    found = make_dataset([*[None] * (records - 1), Record("good", image())])
    assert {found[index]["id"] for index in range(records)} == {"good"}
    assert all(len(set(found[index]["skipped"])) == len(found[index]["skipped"]) for index in range(records))


@pytest.mark.parametrize("batch_size", [0, -1, "abc"])
def test_a_batch_size_of_no_use_is_named(batch_size):
    resolution = {"type": "ConstantResolution", "side": 56}
    with pytest.raises(ValueError, match=f"batch_size={batch_size!r}: give"):
        NativeBatchSampler(sampler=StatelessSampler(dataset=range(9)), batch_size=batch_size, resolution=resolution)


def test_truncated_bytes_are_bad_samples():
    jpeg = io.BytesIO()
    Image.fromarray(image(300, 200)).save(jpeg, "JPEG")
    dataset = make_dataset([Record("cut.jpg", jpeg.getvalue()[:500]), Record("whole.jpg", jpeg.getvalue())])
    sample = dataset[0]
    assert sample["id"] == "whole.jpg"
    assert "cut.jpg" in sample["skipped"][0]


def sample_of(**changes) -> dict:
    labels = np.full((56, 84), -1, np.int16)
    labels[:20, :30] = 4
    region = Region((0.1, 0.2, 0.4, 0.6))
    base = {"image": image(), "regions": (region,), "label_map": labels, "captions": {}, "budget": ImageBudget(10**6)}
    return {**base, "rng": np.random.default_rng(0), **changes}


def test_labels_are_majorities():
    labels = Patchify()(sample_of())["labels"].reshape(4, 6)
    assert labels.dtype == np.int64
    assert labels[0].tolist() == [4, 4, -1, -1, -1, -1]  # the third column is covered by 2 of 14 pixels
    assert labels[1].tolist() == [-1] * 6  # 6 of 14 rows
    assert Patchify()(sample_of(label_map=None))["labels"] is None


def test_resizing_keeps_labels_in_place():
    labels = Patchify()(ResizeToBudget()(sample_of(budget=ImageBudget(28 * 28 * 2))))["labels"].reshape(2, 4)
    assert labels.tolist() == [[4, -1, -1, -1], [-1, -1, -1, -1]]


def test_flip_moves_everything_but_not_what_captions_place():
    flip, before = RandomFlip(probability=1.0), sample_of()
    after = flip(sample_of())
    assert np.array_equal(after["image"], before["image"][:, ::-1])
    assert np.array_equal(after["label_map"], before["label_map"][:, ::-1])
    assert after["regions"][0].box == pytest.approx((0.6, 0.2, 0.9, 0.6))
    still = flip(sample_of(captions={"long": "A dog on the LEFT."}))
    assert np.array_equal(still["image"], before["image"])


def test_packing():
    dataset = make_dataset(
        [Record(str(i), image(28 * (i + 1), 56, i), label_map=np.zeros((28 * (i + 1), 56), np.int16)) for i in range(3)]
    )
    batch = pack_samples([dataset[i] for i in range(3)], keys=["labels", "id"])
    images = batch["images"]
    assert images.shapes == ((2, 4), (4, 4), (6, 4))
    assert images.seqlens == (8, 16, 24)
    assert images.cu_seqlens.tolist() == [0, 8, 24, 48]
    assert images.pixels.dtype == torch.uint8
    assert images.positions[8:24].tolist() == [[r, c] for r in range(4) for c in range(4)]
    assert batch["id"] == ["0", "1", "2"]
    assert batch["labels"].shape == (48,)
    assert batch["skipped"] == []
