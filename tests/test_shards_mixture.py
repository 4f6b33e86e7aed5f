"""Mixtures of sources: shares at every prefix, each source walked through once, exact after a resume, and a change is refused."""

import pickle
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from finevit.config.loading import load
from finevit.config.options import ConfigError
from finevit.contracts import BadSample, ImageBudget, Record, SampleRequest, Source
from finevit.datasets import NativeImages
from finevit.datasets.mixture import BLOCK, Mixture, deal, quotas
from finevit.datasets.samplers import NativeBatchSampler, StatelessSampler
from finevit.engine.eval_caveats import seen
from finevit.engine.hooks.exact_resume_hook import ExactResumeHook
from finevit.engine.hooks.small_data_hook import repeats

pytestmark = pytest.mark.usefixtures("scope")


class Numbers(Source):
    """So many records whose ids are their numbers; those of ``bad`` cannot be used."""

    def __init__(self, name, length, bad=()):
        self.name, self.length, self.bad = name, length, bad

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.bad:
            raise BadSample(f"{self.name} {index} is torn")
        return Record(f"{self.name} {index}", np.zeros((28, 28, 3), np.uint8))

    def size(self, index):
        return 28 + self.length, index

    def describe(self):
        return f"{self.length} of {self.name}"


def mixture(weights=(0.62, 0.3, 0.08), lengths=(1500, 7000, 40)):
    names = ("photos", "documents", "rare")
    sources = {name: Numbers(name, length) for name, length in zip(names, lengths, strict=True)}
    return Mixture(sources=sources, weights=None if weights is None else dict(zip(names, weights, strict=True)))


def drawn(source, first, last, seed=3):
    sampler = StatelessSampler(dataset=NativeImages(source=source, transforms=[]), seed=seed)
    return [source[sampler.index_at(position)].id.split() for position in range(first, last)]


def test_shares_hold_at_every_prefix_and_across_a_resume():
    weights = {"photos": 0.62, "documents": 0.3, "rare": 0.08}
    whole = drawn(mixture(), 0, 10_000)
    counts = Counter[str]()
    for place, (name, _) in enumerate(whole, start=1):
        counts[name] += 1
        assert all(abs(counts[other] - weight * place) < 2 for other, weight in weights.items())
    assert {name: round(count / 10_000, 3) for name, count in counts.items()} == weights
    resumed = drawn(pickle.loads(pickle.dumps(mixture())), 6_123, 10_000)
    assert whole[6_123:] == resumed
    around = Counter(name for name, _ in drawn(mixture(), BLOCK - 5_000, BLOCK + 5_000))
    assert all(abs(around[name] - weight * 10_000) < 3 for name, weight in weights.items())


def test_each_source_is_walked_through_once_before_a_record_comes_again():
    found = {"photos": [], "documents": [], "rare": []}
    for name, number in drawn(mixture(lengths=(300, 500, 40)), 0, 3_000):
        found[name].append(int(number))
    for name, length in (("photos", 300), ("documents", 500), ("rare", 40)):
        walks = [found[name][start : start + length] for start in range(0, len(found[name]), length)]
        assert len(walks) >= 2
        assert all(sorted(walk) == list(range(length)) for walk in walks[:-1])
        assert len(set(walks[-1])) == len(walks[-1])
        assert walks[0] != walks[1]


def test_the_order_is_that_of_the_names_and_the_seed_alone():
    first, other = (Mixture(sources={name: Numbers(name, 50) for name in names}) for names in (("a", "b"), ("b", "a")))
    assert drawn(first, 0, 200) == drawn(other, 0, 200)
    assert first.describe() == other.describe()
    assert drawn(first, 0, 200) != drawn(first, 0, 200, seed=4)


def test_without_weights_all_are_walked_through_together():
    source = mixture(weights=None, lengths=(64, 32, 32))
    assert source.quotas == (BLOCK // 4, BLOCK // 2, BLOCK // 4)
    assert len({tuple(each) for each in drawn(source, 0, 128)}) == 128


@pytest.mark.parametrize("shares", [(1,), (1, 1), (5, 3, 2), (0.9, 0.05, 0.03, 0.02), (1, 2, 3, 4, 5, 6, 7), (BLOCK - 1, 1)])
def test_places_are_dealt_out_evenly(shares):
    names = tuple(map(str, range(len(shares))))
    quota = quotas(dict(zip(names, shares, strict=True)), names)
    dealt, before = deal(quota)
    assert sum(quota) == len(dealt) == BLOCK
    places = np.arange(1, BLOCK + 1)
    for number, count in enumerate(quota):
        mine = np.cumsum(dealt == number)
        assert np.abs(mine - count * places / BLOCK).max() <= len(shares) / 2 + 1e-9
        assert np.array_equal(before[dealt == number], np.arange(count))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"photo": 1.0}, "weights name 'photo', which is no source .did you mean 'photos'"),
        ({"photos": 1.0, "documents": 0.0, "rare": 1.0}, "weights give documents no share"),
        ({"photos": 1.0, "documents": 1.0, "rare": 1e-6}, "weights give rare less than 1 of 65,536 samples"),
    ],
)
def test_weights_that_say_nothing_are_refused(weights, said):
    with pytest.raises(ValueError, match=said):
        Mixture(sources={name: Numbers(name, 5) for name in ("photos", "documents", "rare")}, weights=weights)


def test_captioners_are_those_of_the_mixture():
    source = Numbers("photos", 5)
    source.captioners = {"long": 1.0}
    with pytest.raises(ValueError, match=r"sources\.photos\.captioners: give the captioners of all sources together"):
        Mixture(sources={"photos": source})
    assert Mixture(sources={"photos": Numbers("photos", 5)}, captioners={"long": 1.0}).captioners == {"long": 1.0}


def test_records_and_sizes_are_those_of_the_sources_and_replacements_too():
    source = Mixture(sources={"a": Numbers("a", 6, bad=(1, 4)), "b": Numbers("b", 500)}, weights={"a": 0.5, "b": 0.5})
    assert len(source) == 506
    assert [source[index].id for index in (0, 5, 6, 505)] == ["a 0", "a 5", "b 0", "b 499"]
    assert source.size(7) == (528, 1)
    with pytest.raises(IndexError, match="record 506 of 506"):
        source[506]
    samples = NativeImages(source=source, transforms=[])
    request = SampleRequest(4, 9, ImageBudget(28 * 28))
    found = samples[request]
    assert found["id"] in {"a 0", "a 2", "a 3", "a 5"}
    assert found["skipped"][0] == "a 4 is torn"


def test_batches_that_repeat_the_images_of_a_small_source_are_told():
    def said(share):
        source = mixture(weights=(0.9 - share, 0.1, share), lengths=(10**6, 10**6, 40))
        sampler = StatelessSampler(dataset=NativeImages(source=source, transforms=[]))
        batches = NativeBatchSampler(sampler=sampler, batch_size=100, resolution={"type": "ConstantResolution", "side": 56})
        return source.walk, repeats(batches, 100)

    assert said(0.001)[1] == ""
    walk, told = said(0.6)
    assert walk == 66
    assert "100 of the first 100 batches hold images twice or more, 20.0 on average" in told


def test_a_changed_mixture_is_refused_on_resume(tmp_path):
    told = [mixture(), mixture(weights=(0.61, 0.31, 0.08)), mixture(lengths=(1500, 7000, 41)), mixture(weights=(62, 30, 8))]
    said = [source.describe() for source in told]
    assert said[0] == said[3]
    assert len({*said}) == 3
    assert said[0].split(": ", 1)[1].startswith("documents 0.3 of the samples (7000 of documents); photos 0.62 of the samples (")

    class Runner:
        def __init__(self, source):
            dataset = NativeImages(source=source, transforms=[{"type": "ResizeToBudget"}, {"type": "Patchify"}])
            sampler = StatelessSampler(dataset=dataset, seed=1)
            self._resume, self.seed, self.world_size, self.cfg = True, 1, 1, load("configs/finevit_tiny_stage1.py")
            resolution = {"type": "ConstantResolution", "side": 56}
            batches = NativeBatchSampler(sampler=sampler, batch_size=2, resolution=resolution)
            self.train_dataloader = type("Loader", (), {"batch_sampler": batches, "dataset": dataset})()

    checkpoint = {"meta": {}}
    ExactResumeHook().before_save_checkpoint(Runner(told[0]), checkpoint)
    ExactResumeHook().after_load_checkpoint(Runner(mixture()), checkpoint)
    for changed in told[1:3]:
        with pytest.raises(ValueError, match=r"data: Mixture \w+: .* then, Mixture \w+: .* now"):
            ExactResumeHook().after_load_checkpoint(Runner(changed), checkpoint)


def test_a_mixture_in_a_config_is_checked_whole_and_built(tmp_path):
    for number in range(4):
        Image.new("RGB", (30, 30), (9 * number, 0, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"number {number}")
    (tmp_path / "config.py").write_text(
        "_base_ = ['finevit::finevit_tiny_stage2.py']\n"
        f"_own = dict(type='OpenData', data_root={str(tmp_path)!r}, split='all')\n"
        "_scenes = dict(type='Scenes', level='easy', length=50)\n"
        "_shares = dict(own=0.25, scenes=0.75)\n"
        "_mixed = dict(_delete_=True, type='Mixture', sources=dict(own=_own, scenes=_scenes), weights=_shares)\n"
        "train_dataloader = dict(dataset=dict(source=_mixed))\n"
    )
    config = load(tmp_path / "config.py")
    dataset = NativeImages(source=config.train_dataloader.dataset.source, transforms=[])
    ids = [dataset.source[dataset.record_at(position, 0)].id for position in range(16)]
    assert sum(identity.endswith(".png") for identity in ids) == 4
    other = NativeImages(source={"type": "OpenData", "data_root": str(tmp_path), "split": "all"}, transforms=[])
    assert seen(dataset, other) == "SEEN IN TRAINING: 4 of 4 images"
    with pytest.raises(ConfigError, match="levle"):
        load(tmp_path / "config.py", {"train_dataloader.dataset.source.sources.scenes.levle": "hard"})
