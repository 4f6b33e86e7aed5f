"""A thousand images end to end from each executor, against the local endpoint: the same bytes, what an image costs, and memory."""

import json
import time

import numpy as np
import pytest
from test_stand_in import serving

from finevit.datasets.decoding.images import decode
from finevit.recaption.run import Watch, recaption
from finevit.scenes import Scenes
from finevit.scenes.stand_in import signs
from finevit.scenes.stand_in.album import Album
from finevit.scenes.stand_in.answers import Answerer
from finevit.scenes.stand_in.app import Behaviour, make_app
from finevit.scenes.stand_in.witness import Manner
from finevit.shards import manifest
from finevit.shards.files import read_member, read_table

EXECUTORS = {
    "pool": {"type": "ProcessPool", "workers": 2},
    "ray": {"type": "RayData"},
    "jobs": {"type": "SlurmArray", "cluster": "local", "shards_per_job": 5, "at_once": 2},
}


def settings(url, images, executor):
    model = {"base_url": url, "model": "stand-in-a", "client": {"in_flight": 8}}
    captioner, grounder = {"type": "OpenAICaptioner", **model}, {"type": "OpenAIGrounder", **model}
    passes = {
        "index": {"type": "Index", "images_per_shard": max(5, images // 10), "captions": False},
        "quality": {"type": "QualityFilter", "short_side": 64},
        "duplicates": {"type": "NearDuplicates"},
        "captions": {"type": "GlobalCaptions", "captioners": {"a": captioner}},
        "phrases": {"type": "NounPhrases", "extractor": {"type": "RuleExtractor"}},
        "grounding": {"type": "Grounding", "grounder": grounder},
        "suppress": {"type": "SuppressBoxes"},
        "sample": {"type": "ClassBalancedSampling", "cap": max(10, images // 10), "rare": 10},
        "local_captions": {"type": "LocalCaptions", "captioner": captioner},
        "region_check": {"type": "RegionCheck", "grounder": grounder},
        "assemble": {"type": "Assemble"},
    }
    return {"source": {"type": "Scenes", "level": "easy", "length": images}, "executor": executor, "passes": passes}


def files(work_dir):
    """What the manifest lists, whose names and sums are those of the bytes."""
    listed = [file for shard in manifest.load(work_dir / "dataset").shards for file in shard.files.values()]
    return sorted((file.path, file.sha256, file.bytes) for file in listed)


def decoding_ms(work_dir):
    """Of an image, on one core."""
    places = [
        (work_dir / "dataset" / shard.files["pixels"].path, row["offset"], row["size"])
        for shard in manifest.load(work_dir / "dataset").shards[:2]
        for row in read_table(work_dir / "dataset" / shard.files["images"].path).to_pylist()
    ]
    data = [read_member(*place) for place in places]
    begin = time.process_time()
    for each in data:
        decode(each, name="image")
    return 1000 * (time.process_time() - begin) / len(data)


def notes(work_dir):
    """The notes of all shards, by pass."""
    return {
        folder.name: [json.loads(path.read_text()) for path in sorted(folder.glob("*.done.json"))]
        for folder in sorted((work_dir / "passes").iterdir())
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")  # of Ray and submitit
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_recaption_scale(trial, tmp_path, monkeypatch):
    """A thousand images from each executor."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = trial.count(1000)
    scenes = Scenes(level="easy", length=images)
    album, found, figures = Album(scenes, signs.signs_of(scenes)), {}, {"images": images}
    with serving(make_app(Answerer(album, manner=Manner()), Behaviour())) as url:
        for name, executor in EXECUTORS.items():
            begin = time.monotonic()
            report = recaption(settings(url, images, executor), tmp_path / name, watch=Watch())
            assert not report.errors
            found[name] = files(tmp_path / name)
            figures[f"{name}_s"] = round(time.monotonic() - begin, 1)
    assert found["ray"] == found["pool"]
    assert found["jobs"] == found["pool"]
    told = notes(tmp_path / "pool")
    drawing = _drawing_ms(scenes)
    cost = 1000 * sum(note["cpu_seconds"] for each in told.values() for note in each) / images
    peaks = [note["peak_mb"] for note in told["local_captions"]]
    figures |= {"ms_an_image": round(cost - drawing, 1), "decoding_ms": round(decoding_ms(tmp_path / "pool"), 1)}
    figures["ms_of_drawing"] = round(drawing, 1)
    figures["requests"] = sum(sum(note["counts"].get("ok", 0) for note in told[name]) for name in told)
    trial.record(**figures, peak_mb=max(peaks))
    assert max(peaks) < 1.1 * np.median(peaks) + 50, "memory stays flat"


def _drawing_ms(scenes):
    """Scenes are drawn when they are read: no cost of the pipeline."""
    begin = time.process_time()
    for index in range(min(50, len(scenes))):
        scenes[index]
    return 1000 * (time.process_time() - begin) / min(50, len(scenes))
