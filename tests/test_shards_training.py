"""Training from shards: the samples of the records that were written, bit for bit, in all stages; what is left out is said."""

import io
import pickle
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finevit.config.loading import load
from finevit.contracts import BadSample, ImageBudget, Record, Region, SampleRequest, Source
from finevit.datasets import NativeImages
from finevit.datasets.readers import JsonLines, ShardRecords, open_source, shard_tables
from finevit.scenes import Scenes
from finevit.shards.files import TarWriter, read_table, write_table
from finevit.shards.manifest import load as load_manifest
from finevit.shards.manifest import save
from finevit.shards.writing import write_source

pytestmark = pytest.mark.usefixtures("scope")


class Listed(Source):
    """Records, or what is wrong with them."""

    classes = ("cat", "dog")

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        if isinstance(item := self.items[index], str):
            raise BadSample(item)
        return item

    def describe(self):
        return "a list"


def pixels(seed=0, height=64, width=96):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file(seed=0, kind="JPEG", height=64, width=96):
    out = io.BytesIO()
    Image.fromarray(pixels(seed, height, width)).save(out, kind)
    return out.getvalue()


REGIONS = (
    Region((0.1, 0.29, 0.57, 0.9), phrase="brown dog", caption="A brown dog.", class_id=1),
    Region((0.25, 0.5, 0.75, 1.0), "text_line", "the text “EXIT”", text="EXIT 𝄞"),
    Region((0.1, 0.29, 0.57, 0.9), phrase="brown dog", caption="A brown dog.", class_id=1),
)
RECORDS = [
    Record("a/1.jpg", file(1), {"long": "A brown dog near a sign.", "alt": "dog", "alt-2": "a  dog"}, REGIONS),
    Record("a/2.png", pixels(2), {"alt": ""}, unread={"alt": "2.txt is not UTF-8"}, facts={"label": 3, "counts": {"dog": 2}}),
    Record("a/3.webp", file(3, "WEBP"), {"alt": "three"}, unplaced=(Region((0, 0, 0, 0), phrase="nowhere", text="x"),)),
    Record("a/4.jpg", file(4), shared={"alt": "more than 20 images share it"}),
    Record("a/5.jpg", file(1), {"alt": "the bytes of the first"}, REGIONS[:1]),
]


def same(one, other):
    """Whether two records or samples are equal, arrays bit for bit, mappings in their order."""
    if isinstance(one, Record):
        one, other = ({item.name: getattr(record, item.name) for item in fields(record)} for record in (one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and (one == other or isinstance(one, np.random.Generator))


def test_records_come_back_as_they_were(tmp_path):
    written = write_source(Listed(RECORDS), tmp_path / "set", shard=2)
    source = ShardRecords(data_root=tmp_path / "set", split="all")
    for record, found in zip(RECORDS, source, strict=True):
        found = replace(found, image=record.image) if isinstance(record.image, np.ndarray) else found
        assert same(found, record)
    assert [source.size(index) for index in range(5)] == [(64, 96)] * 5
    assert source.classes == ["cat", "dog"]
    assert [shard.rows for shard in written.manifest.shards] == [2, 2, 1]
    assert written.manifest.counts == {
        "captions": {"given": 5, "shared": 1, "unread": 1},
        "images": {"kept": 5},
        "regions": {"given": 4, "unplaced": 1},
    }
    assert written.left_out["images of bytes that were there before, whose ids tell which time it is"] == 1
    assert source.describe().startswith(
        f"ShardRecords {tmp_path / 'set'}: 5 images, 3 with a caption; split 'all' shows 5; manifest "
    )
    ids = [row["sample_id"] for shard in written.manifest.shards for row in _rows(tmp_path / "set", shard, "images")]
    assert len(set(ids)) == 5
    assert ids[4][:24] == ids[0][:24]
    regions = [row["region_id"] for shard in written.manifest.shards for row in _rows(tmp_path / "set", shard, "regions")]
    assert len(set(regions)) == 5


def _rows(folder, shard, name):
    return read_table(folder / shard.files[name].path).to_pylist()


def test_the_same_source_gives_the_same_bytes_and_a_dataset_is_never_changed(tmp_path):
    for name in ("one", "two"):
        write_source(Listed(RECORDS), tmp_path / name, shard=3)
    one, two = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")} for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    assert len(one) == 10
    with pytest.raises(ValueError, match="is a dataset already, and is never changed"):
        write_source(Listed(RECORDS), tmp_path / "one")


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_samples_of_a_stage_are_those_of_the_same_records_in_memory(tmp_path, stage):
    config = load(f"configs/finevit_tiny_{stage}.py").train_dataloader.dataset
    scenes = Scenes(level="medium", length=12)
    records = [replace(scenes[index], label_map=None, instance_map=None) for index in range(len(scenes))]
    write_source(Listed([*records, *RECORDS[:1]]), tmp_path / "set", shard=5)
    settings = {"transforms": list(config.transforms), "max_seq_len": 512, "seed": 3}
    memory = NativeImages(source=Listed([*records, *RECORDS[:1]]), **settings)
    shards = NativeImages(source=pickle.loads(pickle.dumps(ShardRecords(data_root=tmp_path / "set", split="all"))), **settings)
    assert len(memory) == len(shards) == 13
    for position in range(26):
        request = SampleRequest(position % 13, position, ImageBudget(96 * 96))
        one, other = memory[request], shards[request]
        assert one["skipped"] == []
        assert one.keys() >= {"patches", "shape"}
        facts = (one.pop("facts", {}), other.pop("facts", {}))
        assert same(one, other)
        assert facts[0].get("counts") == facts[1].get("counts")


def test_tables_of_large_datasets_are_mapped_from_the_cache_and_say_the_same(tmp_path, own_cache, monkeypatch):
    write_source(Listed(RECORDS), tmp_path / "set", shard=2)
    plain = list(ShardRecords(data_root=tmp_path / "set", split="all"))
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(shard_tables, "LARGE", 0)
    with monkeypatch.context() as patch:
        for _ in range(2):
            source = ShardRecords(data_root=tmp_path / "set", split="all")
            assert all(same(one, other) for one, other in zip(plain, source, strict=True))
            copied = pickle.dumps(source)
            assert all(same(one, other) for one, other in zip(plain, pickle.loads(copied), strict=True))
            assert b"A brown dog near a sign" not in copied
            patch.setattr(shard_tables, "read_table", None)  # the second time nothing is unpacked
    found = sorted((tmp_path / "cache" / "finevit" / "shards").iterdir())
    assert len(found) == 6
    for path in found:
        path.write_bytes(b"damaged")
    assert all(same(one, other) for one, other in zip(plain, ShardRecords(data_root=tmp_path / "set", split="all"), strict=True))


def test_every_style_of_boxes_reads_the_same_numbers(tmp_path):
    boxes = [tuple(sorted(np.random.default_rng(seed).integers(0, 1001, 4).tolist())) for seed in range(300)]
    regions = tuple(
        Region((a / 1000, b / 1000, c / 1000, d / 1000), phrase=f"thing {a} {d}") for a, b, c, d in boxes if a < c and b < d
    )
    write_source(Listed([Record("x", file(), regions=regions)]), tmp_path / "set")
    found = ShardRecords(data_root=tmp_path / "set", split="all")[0]
    assert [region.box for region in found.regions] == [region.box for region in regions]
    stored = read_table(next((tmp_path / "set").glob("*.regions.*")))
    assert stored["bbox"].to_pylist() == [np.float32(region.box).tolist() for region in regions]


def test_data_root_finds_shards_and_splits_them_as_the_folder_before(tmp_path):
    (tmp_path / "images").mkdir()
    for seed in range(40):
        (tmp_path / "images" / f"{seed}.jpg").write_bytes(file(seed, height=16, width=16))
        (tmp_path / "images" / f"{seed}.txt").write_text(f"number {seed}")
    write_source(open_source(data_root=tmp_path / "images", split="all"), tmp_path / "set", shard=16)
    for split in ("train", "val"):
        one, other = (open_source(data_root=tmp_path / name, split=split, holdout=0.3) for name in ("images", "set"))
        assert isinstance(other, ShardRecords)
        assert all(same(a, b) for a, b in zip(one, other, strict=True))
    manifest = next((tmp_path / "set" / "manifests").iterdir())
    assert len(open_source(data_root=manifest, split="all")) == 40
    shutil.copytree(tmp_path / "set", tmp_path / "torn")
    (tmp_path / "torn" / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"holds tables of shards \(\S+\) and no manifest\.json; restore it from manifests/"):
        open_source(data_root=tmp_path / "torn")
    (tmp_path / "torn" / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        open_source(data_root=tmp_path / "torn")
    (tmp_path / "images" / "manifest.json").write_text('{"name": "of another program"}')
    assert len(open_source(data_root=tmp_path / "images", split="all")) == 40


def test_images_of_the_same_bytes_stay_on_one_side_of_the_split(tmp_path):
    records = [Record(f"{time}-{seed}", file(seed, height=16, width=16)) for time in range(3) for seed in range(30)]
    write_source(Listed(records), tmp_path / "set", shard=50)
    sides = [ShardRecords(data_root=tmp_path / "set", split=split, holdout=0.4) for split in ("train", "val")]
    train, val = ({record.id.partition("-")[2] for record in side} for side in sides)
    assert not train & val
    assert min(len(train), len(val)) >= 5
    assert sum(map(len, sides)) == 90


def test_what_cannot_be_used_is_a_row_with_a_reason_and_is_left_out_and_counted(tmp_path):
    bad = ["gone.jpg: cannot read it", Record("torn", file()[:600]), Record("point", pixels(height=1, width=1))]
    surrogate = Record("half \ud800", file(9), {"alt": "half \ud83d"}, facts={"what": {1, 2}, "n": np.float32(0.5)})
    written = write_source(Listed([*bad, surrogate]), tmp_path / "set")
    rows = _rows(tmp_path / "set", written.manifest.shards[0], "images")
    assert [row["verdict"] for row in rows] == ["rejected"] * 3 + ["kept"]
    assert rows[0]["reasons"] == ["unreadable: gone.jpg: cannot read it"]
    assert "damaged or truncated" in rows[1]["reasons"][0]
    assert "1 x 1 pixels" in rows[2]["reasons"][0]
    assert len({row["sample_id"] for row in rows}) == 4
    source = ShardRecords(data_root=tmp_path / "set", split="all")
    assert [(record.id, record.captions, record.facts) for record in source] == [
        (r"half \ud800", {"alt": "half \ufffd"}, {"n": 0.5})
    ]
    assert source.describe().endswith("; 3 rejected images left out (unreadable 3)")
    assert written.left_out["facts['what']"] == 1
    write_source(Listed(bad), tmp_path / "none")
    with pytest.raises(ValueError, match="keeps no image: unreadable 3"):
        ShardRecords(data_root=tmp_path / "none")


def _changed(folder, name, change):
    """Writes a manifest whose first shard has another table of that name."""
    manifest = load_manifest(folder)
    shard = manifest.shards[0]
    entry = write_table(change(read_table(folder / shard.files[name].path)), folder, f"00000.{name}")
    save(folder, replace(manifest, shards=(replace(shard, files={**shard.files, name: entry}),)))


def test_captions_are_those_that_were_made_and_a_second_one_has_a_number(tmp_path):
    write_source(Listed(RECORDS[:1]), tmp_path)
    made = [("m@1", "p", "one", "ok"), ("m@1", "q", "two", "ok"), ("m@1", "r", None, "refused"), ("n@1", "p", "cut", "truncated")]

    def change(table):
        row = table.to_pylist()[0]
        keys = ("captioner", "prompt_id", "text", "status")
        return type(table).from_pylist([row | dict(zip(keys, values, strict=True)) for values in made], schema=table.schema)

    _changed(tmp_path, "captions", change)
    assert ShardRecords(data_root=tmp_path, split="all")[0].captions == {"m@1": "one", "m@1-2": "two"}


def test_what_is_missing_stops_a_run_before_it_starts(tmp_path):
    write_source(Listed(RECORDS[:1]), tmp_path / "set")
    tar = tmp_path / "set" / "00000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:-512])
    with pytest.raises(ValueError, match=rf"00000\.tar has {len(whole) - 512:,} of {len(whole):,} bytes; copy it again"):
        ShardRecords(data_root=tmp_path / "set")
    tar.unlink()
    with pytest.raises(ValueError, match=r"00000\.tar is missing"):
        ShardRecords(data_root=tmp_path / "set")
    next((tmp_path / "set").glob("*.captions.*")).unlink()
    with TarWriter(tar) as again:
        again.add("x", "jpg", RECORDS[0].image)
    with pytest.raises(ValueError, match=r"captions\.\w+\.parquet cannot be read"):
        ShardRecords(data_root=tmp_path / "set")


def test_jsonl_with_its_own_ids_goes_through_shards(tmp_path):
    Path(tmp_path, "a.jpg").write_bytes(file(1))
    lines = ['{"id": "x", "image": "a.jpg", "caption": "one"}', '{"id": "y", "image": "a.jpg", "caption": "two"}']
    Path(tmp_path, "list.jsonl").write_text("\n".join(lines))
    source = JsonLines(data_root=tmp_path / "list.jsonl", split="all")
    write_source(source, tmp_path / "set")
    found = ShardRecords(data_root=tmp_path / "set", split="all")
    assert [(record.id, record.captions) for record in found] == [("x", {"alt": "one"}), ("y", {"alt": "two"})]
    assert [record.facts["origin"] for record in found] == ["list.jsonl line 1", "list.jsonl line 2"]
