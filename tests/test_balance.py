"""Balanced batches: packs equally full, ranks equally busy, and the order still a pure function of the step."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from benchmarks.speed.packs import fill, imbalance, native_lengths
from benchmarks.speed.work import SIZES
from finevit.contracts import ImageBudget, Record, Source
from finevit.datasets import samplers
from finevit.datasets.dataset import NativeImages
from finevit.datasets.decoding.images import header_size
from finevit.datasets.readers.open import open_source
from finevit.datasets.samplers import NativeBatchSampler, StatelessSampler
from finevit.packing.length_balancing import partition, plan
from finevit.plugins import load_plugins
from finevit.scenes import Scenes


def test_shares_by_hand():
    assert partition([9, 1, 8, 2, 7, 3], 3) == [[0, 1], [2, 3], [4, 5]]
    assert partition([5, 5, 5, 5], 2) == [[0, 2], [1, 3]]
    assert plan([9, 1, 8, 2, 7, 3, 6, 4], steps=2, ranks=2) == [[[0, 3], [6, 5]], [[2, 1], [4, 7]]]
    with pytest.raises(ValueError, match="5 images cannot be shared out evenly to 2 parts"):
        partition([1, 2, 3, 4, 5], 2)


@pytest.mark.parametrize("side", [448, 1008])
@pytest.mark.parametrize("ranks", [1, 2, 8, 64])
@pytest.mark.parametrize("batch", [8, 24])
def test_packs_are_full_and_ranks_equal(side, ranks, batch):
    steps = 8192 // (batch * ranks)
    window = steps * ranks * batch
    lengths = native_lengths(2 * window, side**2, 14)
    packs = []
    for first in (0, window):
        here = lengths[first : first + window]
        planned = plan(here, steps=steps, ranks=ranks)
        assert sorted(image for step in planned for rank in step for image in rank) == list(range(window))
        packs += [[[here[image] for image in rank] for rank in step] for step in planned]
    assert {len(rank) for step in packs for rank in step} == {batch}
    assert fill(packs) >= 0.98
    assert imbalance(packs, SIZES["large"]) <= 0.01


class Sizes(Source):
    """Images that nobody looks at."""

    def __init__(self, unknown=0.0):
        rng = np.random.default_rng(0)
        self.sizes = [tuple(map(int, rng.integers(100, 900, 2))) for _ in range(1000)]
        self.known = rng.random(1000) >= unknown

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        return Record(str(index), np.zeros((*self.sizes[index], 3), np.uint8))

    def size(self, index):
        return self.sizes[index] if self.known[index] else None

    def describe(self):
        return "a thousand sizes"


def make_sampler(*, source=None, batch=4, ranks=1, rank=0, balance=64, monkeypatch, **options) -> NativeBatchSampler:
    transforms = [{"type": "finevit.ResizeToBudget"}, {"type": "finevit.Patchify"}]
    dataset = NativeImages(source=source or Sizes(), transforms=transforms)
    load_plugins()
    monkeypatch.setattr(samplers, "get_dist_info", lambda: (rank, ranks))
    return NativeBatchSampler(
        sampler=StatelessSampler(dataset=dataset, seed=3),
        batch_size=batch,
        resolution={"type": "ConstantResolution", "side": 448},
        balance=balance,
        **options,
    )


def test_the_order_is_a_function_of_the_step_and_of_the_global_batch_alone(monkeypatch):
    sampler = make_sampler(batch=16, monkeypatch=monkeypatch)
    again = make_sampler(batch=16, monkeypatch=monkeypatch)
    later = [again.requests(step) for step in (9, 2, 5)]
    assert later == [sampler.requests(step) for step in (9, 2, 5)]
    for step in range(8):
        ranks = [make_sampler(ranks=4, rank=rank, monkeypatch=monkeypatch).requests(step) for rank in range(4)]
        assert {len(rank) for rank in ranks} == {4}
        assert {request.position for rank in ranks for request in rank} == {request.position for request in sampler.requests(step)}
    window = [request.position for step in range(4, 8) for request in sampler.requests(step)]
    assert sorted(window) == list(range(64, 128))  # nothing twice, nothing left out


def test_packs_of_the_sampler_are_as_large_as_it_thinks(monkeypatch):
    sampler = make_sampler(balance=128, monkeypatch=monkeypatch)
    plain = make_sampler(balance=0, monkeypatch=monkeypatch)
    packs, others = (
        [sum(len(each.sampler.dataset[request]["patches"]) for request in each.requests(step)) for step in range(32)]
        for each in (sampler, plain)
    )
    known = [sum(sampler.sampler.patches_at(r.position, r.budget) for r in sampler.requests(step)) for step in range(32)]
    assert packs == known
    assert np.mean(packs) / max(packs) > 0.97
    assert np.mean(others) / max(others) < 0.9


def test_imbalance_is_that_of_the_plan(monkeypatch):
    sampler = make_sampler(ranks=2, monkeypatch=monkeypatch)
    for step in (0, 9):
        patches = [[sampler.sampler.patches_at(place, ImageBudget(448**2)) for place in rank] for rank in sampler.positions(step)]
        costs = [sum(each + 1e-4 * each**2 for each in rank) for rank in patches]
        assert sampler.imbalance(step) == pytest.approx(2 * max(costs) / sum(costs) - 1)
        assert 0 < sampler.imbalance(step) < 0.1
    assert make_sampler(ranks=2, balance=0, monkeypatch=monkeypatch).imbalance(0) is None


def test_sizes_that_are_not_known(monkeypatch):
    sampler = make_sampler(source=Sizes(unknown=0.3), monkeypatch=monkeypatch)
    assert sorted(r.position for step in range(16) for r in sampler.requests(step)) == list(range(64))
    nothing = make_sampler(source=Sizes(unknown=1.0), monkeypatch=monkeypatch)
    with pytest.raises(ValueError, match=r"of a thousand sizes, the sizes of 64 images in a row are not known; set it to 0"):
        nothing.requests(0)
    with pytest.raises(ValueError, match=r"balance=-1: give a whole number"):
        make_sampler(balance=-1, monkeypatch=monkeypatch)


def test_scenes_know_their_size_without_being_drawn():
    scenes = Scenes(level="medium", max_side=320)
    assert [scenes.size(index) for index in range(6)] == [scenes[index].image.shape[:2] for index in range(6)]


def encoded(width, height, orientation=1) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), "red").save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_readers_know_sizes_by_headers(tmp_path):
    photo, turned = encoded(60, 40), encoded(50, 30, orientation=6)
    assert (header_size(photo), header_size(turned), header_size(photo[:9]), header_size(b"")) == ((40, 60), (50, 30), None, None)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(photo)
    (folder / "b.jpg").write_bytes(turned)
    (folder / "c.jpg").write_bytes(b"no image")
    source = open_source(data_root=folder, split="all")
    assert [source.size(index) for index in range(3)] == [(40, 60), (50, 30), None]
    assert source[1].id == "b.jpg"

    lines = [{"image": "a.jpg"}, {"image": "b.jpg", "height": 7, "width": 9}, {"image": "gone.jpg"}]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = open_source(data_root=folder / "list.jsonl", split="all")
    assert [source.size(index) for index in range(3)] == [(40, 60), (7, 9), None]

    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name, data in (("x.jpg", photo), ("y.jpg", turned)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    source = open_source(data_root=tmp_path / "shard.tar", split="all")
    assert [source.size(index) for index in range(2)] == [(40, 60), (50, 30)]


def test_patches_are_those_after_resizing():
    dataset = NativeImages(
        source=Sizes(), transforms=[{"type": "finevit.ResizeToBudget", "snap": 28}, {"type": "finevit.Patchify"}]
    )
    budget = ImageBudget(224 * 224)
    request = samplers.SampleRequest(5, 5, budget)
    assert dataset.patches(5, budget) == len(dataset[request]["patches"])
    assert NativeImages(source=Sizes(), transforms=[{"type": "finevit.Patchify"}]).patches(5, budget) is None
