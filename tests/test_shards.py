"""Shards at rest: tars, tables and manifests are whole or absent, and of bytes that depend on their content alone."""

import json
import tarfile
from dataclasses import replace
from hashlib import sha256

import pyarrow as pa
import pytest
from pyarrow import parquet

from finevit.shards.files import TarWriter, read_member, read_table, write_table
from finevit.shards.manifest import Manifest, Shard, digest, load, save
from finevit.shards.schema import CAPTIONS, TABLES, table

CAPTION = {
    "sample_id": "a" * 32,
    "captioner": "m@1",
    "prompt_id": "p",
    "text": "a cat",
    "n_tokens": 2,
    "finish_reason": "stop",
    "status": "ok",
}
CAPTION |= {"attempts": 1, "request_key": "k", "detail": None}


def _tar(path, images):
    with TarWriter(path) as tar:
        return [tar.add(key, "jpg", data) for key, data in images], tar


def test_a_member_is_read_by_its_place_and_the_tar_is_plain(tmp_path):
    images = [("b", b"x" * 700), ("a", b""), ("c" * 32, b"\0" * 512)]
    places, tar = _tar(tmp_path / "00000.tar", images)
    assert [read_member(tmp_path / "00000.tar", offset, size) for _, offset, size in places] == [data for _, data in images]
    with tarfile.open(tmp_path / "00000.tar") as plain:
        assert [(item.name, item.offset_data, item.size) for item in plain] == places
        assert {(item.mtime, item.uid, item.gid, item.mode, item.uname) for item in plain.getmembers()} == {(0, 0, 0, 0o644, "")}
    data = (tmp_path / "00000.tar").read_bytes()
    assert (tar.entry.sha256, tar.entry.bytes, tar.entry.rows) == (sha256(data).hexdigest(), len(data), 3)
    _tar(tmp_path / "again.tar", images)
    assert (tmp_path / "again.tar").read_bytes() == data


def test_a_tar_that_fails_is_absent_and_one_that_ends_early_is_told(tmp_path):
    path = tmp_path / "00000.tar"
    with pytest.raises(ValueError, match=r"a member 'a\.jpg' is there already"):
        _tar(path, [("a", b"1"), ("a", b"2")])
    assert not list(tmp_path.iterdir())
    [(_, offset, size)], _ = _tar(path, [("a", b"1" * 600)])
    path.write_bytes(path.read_bytes()[: offset + 599])
    with pytest.raises(ValueError, match=rf"ended after 599 of 600 bytes at {offset}; restore it"):
        read_member(path, offset, size)
    with pytest.raises(ValueError, match="cannot be read"):
        read_member(tmp_path / "none.tar", 0, 1)


def test_a_table_comes_back_and_its_bytes_depend_on_its_rows_alone(tmp_path):
    rows = [CAPTION | {"text": f"text {index}" if index % 7 else None} for index in range(10_000)]
    whole = table("captions", rows)
    parts = pa.concat_tables([table("captions", rows[:123]), table("captions", rows[123:])])
    first, second = write_table(whole, tmp_path, "00000.captions"), write_table(parts, tmp_path, "00000.captions")
    assert first == second
    assert first.path == f"00000.captions.{first.sha256[:8]}.parquet"
    assert first.rows == 10_000
    assert sha256((tmp_path / first.path).read_bytes()).hexdigest() == first.sha256
    assert read_table(tmp_path / first.path).equals(whole, check_metadata=True)
    assert [path.name for path in tmp_path.iterdir()] == [first.path]


def test_minor_versions_are_read_and_major_ones_refused(tmp_path):
    path = tmp_path / "00000.captions.parquet"
    made = table("captions", [CAPTION])
    newer = made.append_column("mood", pa.array(["glad"])).replace_schema_metadata({"schema": "finevit.shards", "version": "1.9"})
    parquet.write_table(newer.drop_columns(["detail"]), path)
    assert read_table(path).to_pylist() == [CAPTION]
    assert read_table(path).schema.equals(CAPTIONS, check_metadata=True)
    for metadata, said in [
        ({"schema": "finevit.shards", "version": "2.0"}, "has version '2.0'"),
        ({"schema": "x"}, "its schema is 'x'"),
    ]:
        parquet.write_table(made.replace_schema_metadata(metadata), path)
        with pytest.raises(ValueError, match=said):
            read_table(path)
    parquet.write_table(made.drop_columns(["status"]), path)
    with pytest.raises(ValueError, match="lacks the column 'status'"):
        read_table(path)
    parquet.write_table(made.set_column(3, "text", pa.array([["a"]])), path)
    with pytest.raises(ValueError, match="column 'text' is not string"):
        read_table(path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read_table(path)
    with pytest.raises(ValueError, match="its name tells no table; they are images, captions"):
        read_table(tmp_path / "00000.parquet")


@pytest.mark.parametrize("name", TABLES)
def test_every_table_may_be_empty(tmp_path, name):
    made = table(name, [])
    assert read_table(tmp_path / write_table(made, tmp_path, f"0.{name}").path).equals(made)


def test_manifests_are_kept_and_the_newest_is_loaded(tmp_path):
    entry = write_table(table("captions", [CAPTION]), tmp_path, "00000.captions")
    first = Manifest(shards=(Shard("00000", 1, {"captions": entry}),), counts={"captions": {"ok": 1}}, classes=("cat",))
    second = replace(first, parent=save(tmp_path, first), facts={"what": "é"})
    assert first != second
    assert save(tmp_path, second) == digest(second)
    assert load(tmp_path) == second
    assert load(tmp_path / "manifests" / f"{second.parent[:12]}.json") == first
    assert sorted(path.stem for path in (tmp_path / "manifests").iterdir()) == sorted(digest(m)[:12] for m in (first, second))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "3.0"}, "has version '3.0' of finevit.shards, and version 1.0 is read"),
        ({"schema": "other"}, "is none of finevit.shards"),
        ({"shards": None}, "lacks or misspells"),
        (
            {"shards": [{"name": "0", "rows": 1, "files": {"pixels": {"path": "../x.tar", "sha256": "", "bytes": 1, "rows": 1}}}]},
            "'../x.tar' is no",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path, change, said):
    save(tmp_path, Manifest(shards=()))
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=said):
        load(tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"a dataset of shards has a manifest\.json"):
        load(tmp_path / "none")
