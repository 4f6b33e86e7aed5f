"""Text files as Windows and others write them: read to the letter, or refused with the remedy; never noise."""

import codecs
import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finevit.contracts import BadSample, ImageBudget, SampleRequest
from finevit.datasets import NativeImages
from finevit.datasets.readers import ClipBenchmarkTars, ShareGPT4V1k, Urban1k, open_source
from finevit.datasets.readers.encodings import decode_text, encoding_of, text_lines
from finevit.datasets.transforms.caption_transforms import PickCaption
from finevit.engine.hooks.captions_hook import summary

pytestmark = pytest.mark.usefixtures("own_cache")

TEXT = "Ein Häuschen – “a dog” runs\r\nover the wet grass 🐕."
CHINESE = "一只狗在草地上奔跑"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
    ],
    ids=["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "le without mark", "be without mark"],
)
def test_a_text_is_read_to_the_letter(data):
    assert decode_text(data) == TEXT


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_other_scripts_and_no_text_at_all(codec):
    assert decode_text(CHINESE.encode(codec)) == CHINESE
    assert decode_text("Собака бежит".encode(codec)) == "Собака бежит"
    assert decode_text("".encode(codec)) == ""
    assert decode_text("a".encode(codec)) == "a"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("café crème".encode("latin-1"), r"not UTF-8 \(byte 0xe9 at 3: .*\); save it as UTF-8, for instance by iconv"),
        ("“quoted”".encode("cp1252"), r"not UTF-8 \(byte 0x93 at 0"),
        (CHINESE.encode("gbk"), r"not UTF-8 \(byte 0xb9 at 4"),
        ("犬が走る".encode("shift-jis"), "not UTF-8"),
        (b"caf\xe9 caf\xc3\xa9", r"not UTF-8 \(byte 0xe9 at 3"),
        ("a dog".encode("utf-16")[:-1], r"not UTF-16\S* \(.*truncated data\)"),
        (CHINESE.encode("utf-16-le"), "not UTF-8"),
        ("Собака бежит".encode("utf-16-le"), "no text, or UTF-16 without a byte order mark"),
        ("Собака бежит".encode("utf-16-be"), "no text, or UTF-16 without a byte order mark"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "not UTF-8"),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused(data, told):
    with pytest.raises(ValueError, match=told):
        decode_text(data)


def test_stray_control_characters_are_left_to_the_captions():
    assert decode_text(b"a dog\0\0\0\0\0\0\0") == "a dog\0\0\0\0\0\0\0"
    assert decode_text(b"ab\0") == "ab\0"
    assert decode_text(b"a large dog\x07 runs") == "a large dog\x07 runs"


def test_lines_end_where_people_end_them():
    assert text_lines("one\u2028still one\n\ntwo\x0bstill\x0c\x1c\x85two\r\nthree\rfour") == [
        "one\u2028still one", "", "two\x0bstill\x0c\x1c\x85two", "three", "four",
    ]  # fmt: skip
    assert [text_lines(text) for text in ("", "one\r\n", "one\n\n")] == [[], ["one"], ["one", ""]]


def test_the_beginning_of_a_file_tells_its_encoding():
    assert [encoding_of(TEXT.encode(codec)[:16]) for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")] == [
        "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be",
    ]  # fmt: skip


# The readers


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "PNG")
    return file.getvalue()


def folder(root: Path, texts: dict[str, bytes]) -> Path:
    """A folder of images and texts, and beside it the tar of it."""
    root.mkdir()
    with tarfile.open(root.with_suffix(".tar"), "w") as tar:
        for stem, data in texts.items():
            for name, content in ((f"{stem}.png", picture()), (f"{stem}.txt", data)):
                (root / name).write_bytes(content)
                tar.add(root / name, name)
    return root


def test_captions_of_windows_are_read_in_folders_and_tars(tmp_path):
    root = folder(tmp_path / "own", {codec: TEXT.encode(codec) for codec in ("utf-8-sig", "utf-16", "utf-16-be", "utf-32")})
    for path in (root, root.with_suffix(".tar")):
        source = open_source(data_root=path, split="all")
        assert [dict(source[i].captions) for i in range(4)] == [{"alt": TEXT.replace("\r\n", " ")}] * 4
        assert not any(source[i].unread for i in range(4))


def test_a_caption_that_cannot_be_decoded_is_none_and_the_image_stays(tmp_path):
    root = folder(tmp_path / "own", {"a": "café".encode("latin-1"), "b": CHINESE.encode("gbk"), "c": b"fine"})
    transforms = [{"type": "finevit.ResizeToBudget"}, {"type": "finevit.Patchify"}]
    for path, name in ((root, ""), (root.with_suffix(".tar"), "own/")):
        source = open_source(data_root=path, split="all")
        assert [dict(source[i].captions) for i in range(3)] == [{"alt": ""}, {"alt": ""}, {"alt": "fine"}]
        assert source[0].unread["alt"].startswith(f"{name}a.txt is not UTF-8 (byte 0xe9 at 3")
        images = NativeImages(source=source, transforms=transforms)
        assert [images[i]["counts"]["unreadable captions"] for i in range(3)] == [1, 1, 0]
        assert not any(images[i]["skipped"] for i in range(3))
        drawn = NativeImages(source=source, transforms=[*transforms, {"type": "finevit.PickCaption"}])
        (said,) = {message for i in (0, 1) for message in drawn[i]["skipped"] if "a.txt" in message}
        assert "no usable caption; it has alt (" in said
        assert "save it as UTF-8" in said
        everything = {"type": "finevit.AllCaptions", "tokenizer": "scenes"}
        with pytest.raises(BadSample, match=r"has no caption; \S*a\.txt is not UTF-8"):
            NativeImages(source=source, transforms=[*transforms, everything], max_seq_len=8)._sample(
                source[0], SampleRequest(0, 0, ImageBudget(784))
            )


def test_one_unreadable_text_of_several_is_counted_and_the_others_are_drawn():
    record = {"captions": {"alt": "", "alt-2": "a dog", "b": ""}, "unread": {"alt": "a.txt is not UTF-8"}, "id": "a.png"}
    counts = Counter(["unreadable captions"])
    drawn = PickCaption()({**record, "counts": counts, "rng": np.random.default_rng(0)})
    assert drawn["caption"] == "a dog"
    assert counts == {"unreadable captions": 1, "empty captions": 1}
    totals = Counter({"seen": 8, "tokens": 80, "unreadable captions": 2})
    assert summary(totals, {64}).startswith("captions: 8 seen, 0 empty, 0 repeated, 0 looping, 2 unreadable, 0.0% truncated")


def test_lines_of_evaluation_sets_end_at_line_ends_alone(tmp_path):
    lines = "one\u2028still one\r\ntwo\x85still two\r\n\r\n"
    root = tmp_path / "urban"
    for path, data in {"image/1.png": picture(), "caption/1.txt": lines.encode("utf-16"), "caption/2.txt": b"caf\xe9"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    source = Urban1k(data_root=root)
    assert dict(source[0].captions) == {"long": "one still one"}
    assert source.skipped.listed[0].startswith(f"{root}/caption/2.txt is not UTF-8 (byte 0xe9 at 3")

    (root / "test").mkdir()
    folder(tmp_path / "tars", {"a": lines.encode(), "b": b"caf\xe9"}).with_suffix(".tar").rename(root / "test/0.tar")
    (root / "test/nshards.txt").write_bytes("1\r\n".encode("utf-16"))
    (root / "dataset_type.txt").write_bytes(b"retrieval\r\n")
    (root / "classnames.txt").write_bytes("cat\u2028fish\r\ndog\r\n\r\n".encode())
    source = ClipBenchmarkTars(data_root=root)
    assert source.classes == ("cat\u2028fish", "dog")
    assert dict(source[0].captions) == {"caption-1": "one still one", "caption-2": "two still two"}
    with pytest.raises(BadSample, match=r"0/b\.txt is not UTF-8"):
        source[1]


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "latin-1"])
def test_the_list_of_sharegpt4v_is_decoded_or_refused(tmp_path, codec):
    entry = {"id": "1", "image": "1.png", "conversations": [{}, {"value": "café"}]}
    (tmp_path / "1.png").write_bytes(picture())
    (tmp_path / "list.json").write_bytes(json.dumps([entry], ensure_ascii=False).encode(codec))
    if codec == "latin-1":
        with pytest.raises(ValueError, match=r"list\.json: 'utf-8' codec can't decode byte 0xe9"):
            ShareGPT4V1k(annotations=tmp_path / "list.json")
    else:
        assert dict(ShareGPT4V1k(annotations=tmp_path / "list.json")[0].captions) == {"long": "café"}
