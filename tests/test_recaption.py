"""A run of recaptioning from images to a dataset, with engines that answer at once."""

from pathlib import Path

import pytest
import sample_engines  # noqa: F401
from pyarrow import parquet

from finevit.recaption.run import Report, Watch, recaption
from finevit.recaption.sidecars import DONE
from finevit.shards import manifest

IMAGES = 12
ENGINES = {
    "ocr": {"type": "OCR", "ocr": {"type": "SampleOCR"}},
    "captions": {"type": "GlobalCaptions", "captioners": {"a": {"type": "SampleCaptioner"}}, "prompts": {"dense": "Describe it."}},
    "phrases": {"type": "NounPhrases", "extractor": {"type": "SampleExtractor"}},
    "grounding": {"type": "Grounding", "grounder": {"type": "SampleGrounder"}},
    "suppress": {"type": "SuppressBoxes"},
    "sample": {"type": "ClassBalancedSampling"},
    "local_captions": {"type": "LocalCaptions", "captioner": {"type": "SampleCaptioner"}},
    "region_check": {"type": "RegionCheck", "grounder": {"type": "SampleGrounder"}},
}
ALL = ("index", "quality", "duplicates", *ENGINES, "assemble")


def settings(*, executor="Serial", per_shard=5, source=None, **passes):
    """A run over embedded scenes."""
    own = dict(
        index={"type": "Index", "images_per_shard": per_shard, "captions": False},
        quality={"type": "QualityFilter", "short_side": 32},
        duplicates={"type": "NearDuplicates"},
        **ENGINES,
        assemble={"type": "Assemble"},
    )
    made = {"type": "Scenes", "level": "easy", "split": "val", "length": IMAGES, "max_side": 96}
    imports = {"imports": ["sample_engines"]}
    return {"source": source or made, "executor": {"type": executor}, "passes": {**own, **passes}, "custom_imports": imports}


def run(told, work_dir) -> tuple[Report, list[tuple[str, int]]]:
    """The report, and of each pass how many shards were to be done."""
    todo = []
    watch = Watch(begin=lambda name, shards, current: todo.append((name, len(current))))
    return recaption(told, work_dir, watch=watch), todo


def tables(work_dir: Path) -> dict[str, list[dict]]:
    """The rows of the dataset's newest manifest."""
    found: dict[str, list[dict]] = {}
    for shard in manifest.load(work_dir / "dataset").shards:
        for name, file in shard.files.items():
            if name != "pixels":
                found.setdefault(name, []).extend(parquet.read_table(work_dir / "dataset" / file.path).to_pylist())
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("whole")
    report, todo = run(settings(), work_dir)
    assert todo == [(name, 3) for name in ALL], "every pass does every shard, in order"
    assert not report.errors
    assert not report.partial
    return work_dir


def test_a_run_makes_a_dataset_of_all_images(whole):
    found = tables(whole)
    assert len(found["images"]) == IMAGES
    assert all(row["verdict"] == "kept" for row in found["images"])
    assert [row["status"] for row in found["captions"]] == ["ok"] * IMAGES
    spans = [row for row in found["phrases"] if row["char_end"] - row["char_start"] != len(row["phrase"])]
    assert found["phrases"]
    assert not spans
    assert {row["kind"] for row in found["regions"]} == {"object", "text_line"}
    assert sum(row["kind"] == "text_line" for row in found["regions"]) == IMAGES


def test_nothing_is_done_twice(whole):
    before = manifest.load(whole / "dataset")
    report, todo = run(settings(), whole)
    assert todo == [(name, 0) for name in ALL]
    assert report.states["captions"] == {DONE: 3}
    assert manifest.load(whole / "dataset") == before


def test_another_prompt_runs_its_pass_and_those_that_read_it_alone(tmp_path):
    run(settings(), tmp_path)
    first = manifest.load(tmp_path / "dataset")
    changed = dict(ENGINES["local_captions"], prompt="Say it otherwise.")
    _, todo = run(settings(local_captions=changed), tmp_path)
    assert [name for name, count in todo if count] == ["local_captions", "region_check", "assemble"]
    second = manifest.load(tmp_path / "dataset")
    assert second.parent == manifest.digest(first)
    assert [shard.files["pixels"] for shard in second.shards] == [shard.files["pixels"] for shard in first.shards]
    assert [shard.files["regions"] for shard in second.shards] != [shard.files["regions"] for shard in first.shards]
