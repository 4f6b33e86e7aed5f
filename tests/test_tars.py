"""What people's tars hold: dotted names, links, sparse files, further tars behind the first; nothing of it is lost unnamed."""

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finevit.contracts import BadSample
from finevit.datasets.decoding.images import decode
from finevit.datasets.readers import ClipBenchmarkTars, TarShards, open_source

pytestmark = pytest.mark.usefixtures("own_cache")


def picture(value: int = 0, format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (value, 0, 0)).save(file, format, **({"quality": 95} if format == "JPEG" else {}))
    return file.getvalue()


def tar(path: Path, members: dict[str, bytes | str | tuple[bytes, str]], **options: int) -> Path:
    """Files by their bytes or text, links as (type, target)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, tuple):
                info.type, info.linkname = data
                archive.addfile(info)
            else:
                data = data if isinstance(data, bytes) else data.encode()
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def opened(path: Path) -> TarShards:
    return open_source(data_root=path, split="all")


def seen(source: TarShards) -> dict[str, tuple[int, str]]:
    """Key -> red of the image and caption of every sample."""
    records = [source[i] for i in range(len(source))]
    return {r.id.partition("/")[2]: (int(decode(r.image, name=r.id)[0, 0, 0]), r.captions.get("alt", "")) for r in records}


# Names with dots


def test_names_with_dots_are_samples_of_their_own(tmp_path):
    names = ["one", "two.v2", "22.05", "1.1", "a.b/c.d.e", "Mr. X", "two"]
    members = {f"{name}{end}": data for i, name in enumerate(names) for end, data in ((".jpg", picture(20 * i)), (".txt", name))}
    found = seen(opened(tar(tmp_path / "w.tar", members)))
    assert {key: caption for key, (_, caption) in found.items()} == {name: name for name in names}
    assert [red for red, _ in found.values()] == pytest.approx([20 * i for i in range(len(names))], abs=2)


def test_parts_beside_an_image_are_told_and_no_samples(tmp_path):
    members = {
        "a/0.jpg": picture(40), "a/0.txt": "zero", "a/0.seg.png": picture(9, "PNG"), "a/0.seg.1.png": picture(9, "PNG"),
        "a/0.short.txt": "short", "a/1.seg.png": picture(9, "PNG"), "a/1.jpg": picture(80), "a/0.crop2.jpg": picture(9),
    }  # fmt: skip
    source = opened(tar(tmp_path / "w.tar", members))
    assert {key: caption for key, (_, caption) in seen(source).items()} == {"a/0": "zero", "a/1": ""}
    assert (source.skipped.count, source.skipped.seen) == (0, 2)
    assert source.skipped.notes["2 .seg.png (w.tar: a/0.seg.png)"] == "parts of samples beside the image"
    assert sorted(note.partition(" (")[0] for note in source.skipped.notes) == [
        "1 .crop2.jpg", "1 .seg.1.png", "1 .short.txt", "2 .seg.png",
    ]  # fmt: skip
    assert "; not read: 2 .seg.png (w.tar: a/0.seg.png); " in source.describe()


@pytest.mark.parametrize(
    ("members", "keys"),
    [
        ({"0.jpg": "", "0.v2.jpg": "", "0.v2.txt": ""}, ["0", "0.v2"]),  # a caption of its own
        ({"0.jpg": "", "0.json": "{}", "0.1.jpg": "", "0.1.json": "{}"}, ["0", "0.1"]),  # all that the other has
        ({"22.jpg": "", "22.05.jpg": "", "22.06.jpg": ""}, ["22", "22.05", "22.06"]),  # images alone, numbered
        ({"0.jpg": "", "0.seg.jpg": ""}, ["0"]),
        ({"0.jpg": "", "0.seg.json": "{}", "0.seg.png": ""}, ["0"]),
        ({"0.0.jpg": "", "0.1.jpg": ""}, ["0.0", "0.1"]),
        ({"0.heic": "", "0.seg.png": "", "1.jpg": ""}, ["1"]),  # of an image that is lost
    ],
)
def test_which_dotted_names_are_samples(tmp_path, members, keys):
    source = opened(tar(tmp_path / "w.tar", {name: data or picture() for name, data in members.items()}))
    assert sorted(source[i].id for i in range(len(source))) == [f"w/{key}" for key in keys]


# Links


def test_hard_links_as_gnu_tar_writes_them(tmp_path):
    root = tmp_path / "own"
    root.mkdir()
    for i in range(2):
        (root / f"{i}.jpg").write_bytes(picture(60 * i))
        (root / f"{i}.txt").write_text(f"caption {i}")
    for old, new in (("0.jpg", "2.jpg"), ("1.jpg", "3.jpg"), ("1.txt", "3.txt")):
        os.link(root / old, root / new)
    (root / "2.txt").write_text("another caption of image 0")
    subprocess.run(["tar", "-C", root, "--sort=name", "-cf", tmp_path / "w.tar", "."], check=True)
    source = opened(tmp_path / "w.tar")
    found = seen(source)
    assert [caption for _, caption in found.values()] == ["caption 0", "caption 1", "another caption of image 0", "caption 1"]
    assert [red for red, _ in found.values()] == pytest.approx([0, 60, 0, 60], abs=2)
    assert source.size(2) == (12, 16)


def test_links_are_followed_inside_the_tar_and_named_where_they_leave_it(tmp_path):
    hard, soft = tarfile.LNKTYPE, tarfile.SYMTYPE
    members = {
        "a/0.jpg": picture(50), "b/1.jpg": (soft, "../a/0.jpg"), "b/2.jpg": (soft, "1.jpg"), "c": (soft, "./a"),
        "b/3.jpg": (soft, "../c/0.jpg"), "b/4.jpg": (soft, "../z/late.jpg"), "b/5.jpg": (hard, "b/2.jpg"), "b/5.txt": "five",
        "b/6.jpg": (soft, "/data/6.jpg"), "b/7.jpg": (soft, "8.jpg"), "b/8.jpg": (soft, "7.jpg"), "b/9.jpg": (hard, "gone.jpg"),
        "b/9.txt": "lost with its image", "z/late.jpg": picture(90), "d": (soft, "../elsewhere"), "README.md": (soft, "/x"),
    }  # fmt: skip
    source = opened(tar(tmp_path / "w.tar", members))
    found = seen(source)
    assert list(found) == ["a/0", "b/1", "b/2", "b/3", "b/4", "b/5", "z/late"]
    assert [red for red, _ in found.values()] == pytest.approx([50, 50, 50, 50, 90, 50, 90], abs=2)
    assert found["b/5"][1] == "five"
    told = [said.partition(", which is not in the tar; ")[0] for said in source.skipped.listed]
    assert told == [
        "w.tar: b/6.jpg is a link to /data/6.jpg", "w.tar: b/7.jpg is a link to b/8.jpg", "w.tar: b/8.jpg is a link to b/7.jpg",
        "w.tar: b/9.jpg is a link to gone.jpg", "w.tar: d is a link to ../elsewhere",
    ]  # fmt: skip
    assert (source.skipped.count, source.skipped.seen) == (5, 12)
    assert source.skipped.listed[0].endswith(
        "write the tar anew with what its links point at (tar --dereference --hard-dereference)"
    )


# Sparse files


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_sparse_files_are_read(tmp_path, format):
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[:4], pixels[-4:] = 70, 70
    Image.fromarray(pixels).save(tmp_path / "0.bmp")
    (tmp_path / "1.jpg").write_bytes(picture(30))
    whole = (tmp_path / "0.bmp").read_bytes()
    with (tmp_path / "0.bmp").open("wb") as file:  # its zeros become a hole
        file.write(whole[:8192])
        file.seek(len(whole) - 8192)
        file.write(whole[-8192:])
    assert (tmp_path / "0.bmp").read_bytes() == whole
    subprocess.run(["tar", "-S", f"--format={format}", "-C", tmp_path, "-cf", tmp_path / "w.tar", "0.bmp", "1.jpg"], check=True)
    with tarfile.open(tmp_path / "w.tar") as written:
        assert written.getmember("0.bmp").issparse(), "the file system keeps no holes"
    source = opened(tmp_path / "w.tar")
    assert [source[0].image == whole, source[1].image == picture(30)] == [True, True]
    assert [source.size(0), source.size(1)] == [None, (12, 16)]
    assert source.skipped.count == 0
    content = (tmp_path / "w.tar").read_bytes()
    (tmp_path / "w.tar").write_bytes(content[:512])
    with pytest.raises(BadSample, match=r"w/0: "):
        source[0]


# Tars behind the first


def test_tars_that_were_joined_are_read_to_the_end(tmp_path):
    parts = [tar(tmp_path / f"parts/{i}.tar", {f"{i}.jpg": picture(30 * i), f"{i}.txt": f"caption {i}"}) for i in range(3)]
    data = [part.read_bytes() for part in parts]
    end = data[0].rstrip(b"\0")
    tight = end + bytes(-len(end) % 512 + 512)  # one block of zeros, as some programs write
    for number, joined in enumerate(
        (b"".join(data), tight + data[1] + data[2] + bytes(10**6), data[0] + bytes(512 * 7) + data[1] + data[2])
    ):
        (tmp_path / f"{number}.tar").write_bytes(joined)
        source = opened(tmp_path / f"{number}.tar")
        assert [caption for _, caption in seen(source).values()] == [f"caption {i}" for i in range(3)]
        assert source.skipped.count == 0


def test_what_is_wrong_behind_the_first_is_told(tmp_path):
    first, second = (
        tar(tmp_path / f"parts/{i}.tar", {f"{i}.jpg": picture(), f"{i}x.jpg": picture()}).read_bytes() for i in range(2)
    )
    cases = {
        "junk": (first + b"junk" * 300, 2, "1,200 bytes behind its end are no tar; what they held is unknown"),
        "torn": (first + second[: 512 * 3 + 100], 3, "damaged, compressed or ends early; 3 samples are readable"),
        "same": (first + first, 2, "0.jpg is one image too many for its sample"),
        "zipped": (first + b"\x1f\x8b\x08" + b"x" * 1021, 2, "1,024 bytes behind its end are no tar"),
    }
    for name, (data, count, told) in cases.items():
        (tmp_path / f"{name}.tar").write_bytes(data)
        source = opened(tmp_path / f"{name}.tar")
        assert len(source) == count, name
        assert source.skipped.listed[0].startswith(f"{name}.tar: {told}"), source.skipped.listed


# Other endings, and what lies beside


def test_other_names_of_jpeg_are_read_and_lost_images_count_by_ending(tmp_path):
    members = {
        "a.jpg": picture(), "b.jfif": picture(50), "c.JPE": picture(90), "d.heic": b"x" * 100, "d.txt": "lost with it",
        "e.img": picture(), "f": picture(), "g.jp2": b"x", "h.heic": b"x", "i.npy": b"\x93NUMPY",
        "j.bin": b"\0" * 600, "__MACOSX/._a.jpg": b"x",
    }  # fmt: skip
    for number in range(2):
        tar(tmp_path / f"{number}.tar", members)
    source = opened(tmp_path)
    assert [source[i].id for i in range(3)] == ["0/a", "0/b", "0/c"]
    assert int(decode(source[2].image, name="")[0, 0, 0]) == pytest.approx(90, abs=2)
    assert sorted(source.skipped.listed) == [
        "2 .img (0.tar: e.img): images without the ending of one; rename them (.jpg, .png, ...)",
        "2 .jp2 (0.tar: g.jp2): images of a format that is not read; convert them to .jpg or .png",
        "2 without an ending (0.tar: f): images without the ending of one; rename them (.jpg, .png, ...)",
        "4 .heic (0.tar: d.heic): images of a format that is not read; convert them to .jpg or .png",
    ]
    assert (source.skipped.count, source.skipped.seen, len(source)) == (10, 16, 6)
    assert sorted(source.skipped.notes) == ["2 .bin (0.tar: j.bin)", "2 .npy (0.tar: i.npy)"]
    assert "10 unusable entries left out; not read: 2 .npy (0.tar: i.npy); 2 .bin (0.tar: j.bin)" in source.describe()


def test_only_images_that_are_not_read(tmp_path):
    tar(tmp_path / "w.tar", {"a.heic": b"x", "b.heic": b"x"})
    with pytest.raises(ValueError, match=r"holds no samples with an image: 2 \.heic \(w\.tar: a\.heic\): images of a format"):
        opened(tmp_path)


def test_what_lies_beside_the_tars_is_told(tmp_path):
    tar(tmp_path / "0.tar", {"a.jpg": picture()})
    for name in ("1.tar.gz", "2.tgz", "3.tar.zst"):
        (tmp_path / name).write_bytes(b"\x1f\x8b")
    tar(tmp_path / "more/4.tar", {"b.jpg": picture()})
    for name in ("00000_stats.json", "00000.parquet", "x.jpg", "y.png"):
        (tmp_path / name).write_bytes(b"")
    source = opened(tmp_path)
    assert [said.partition(" is ")[0].partition(" lies ")[0].partition(" (")[0] for said in source.skipped.listed] == [
        "1.tar.gz", "2.tgz", "3.tar.zst", "more/4.tar", "2 images beside the tars",
    ]  # fmt: skip
    assert (source.skipped.count, source.skipped.seen) == (6, 7)


def test_evaluation_sets_in_tars_say_that_they_are_incomplete(tmp_path):
    (tmp_path / "classnames.txt").write_text("cat\ndog")
    tar(tmp_path / "test/0.tar", {"0.5.jpg": picture(), "0.5.cls": "1", "1.heic": b"x", "1.cls": "0"})
    (tmp_path / "test/nshards.txt").write_text("1")
    source = ClipBenchmarkTars(data_root=tmp_path)
    assert (source[0].id, source[0].facts["label"]) == ("0/0.5", 1)
    assert "; INCOMPLETE: 1 .heic (0.tar: 1.heic): images of a format" in source.describe()


def test_devices_and_pipes_called_like_images_are_named(tmp_path):
    members = {
        "a.jpg": picture(40),
        "a.txt": (tarfile.FIFOTYPE, ""),
        "b.jpg": (tarfile.CHRTYPE, ""),
        "c.dat": (tarfile.FIFOTYPE, ""),
    }
    source = opened(tar(tmp_path / "w.tar", members))
    assert seen(source) == {"a": (40, "")}
    assert source.skipped.listed == [
        f"w.tar: {name} is no file but a device or a pipe; write the tar anew with the file itself" for name in ("a.txt", "b.jpg")
    ]


def test_a_caption_with_the_ending_of_its_image_in_its_name_is_told(tmp_path):
    source = opened(tar(tmp_path / "w.tar", {"a.JPG": picture(), "a.JPG.txt": "one", "b.jpg": picture()}))
    assert source.skipped.notes == {"1 .JPG.txt (w.tar: a.JPG.txt)": "name them without the image's ending (a.txt, a.json)"}


def test_labels_of_volumes_are_passed_over_and_unknown_kinds_named(tmp_path):
    source = opened(tar(tmp_path / "w.tar", {"backup": (b"V", ""), "a.jpg": picture(40), "b.jpg": (b"Q", "")}))
    assert seen(source) == {"a": (40, "")}
    assert source.skipped.listed == [
        "w.tar: b.jpg is no file but of the unknown kind 'Q'; write the tar anew with the file itself"
    ]  # fmt: skip


def test_a_tar_of_tars_says_what_it_holds(tmp_path):
    tar(tmp_path / "w.tar", {"inner.tar.gz": "x"})
    with pytest.raises(ValueError, match=r"no samples with an image: 1 \.gz \(w\.tar: inner\.tar\.gz\): decompress it"):
        opened(tmp_path / "w.tar")


def test_unfinished_tars_and_images_that_are_not_read_beside_the_tars_are_told(tmp_path):
    tar(tmp_path / "0.tar", {"a.jpg": picture()})
    for name in ("1.tar.part", "2.tar.1", "c.heic"):
        (tmp_path / name).write_bytes(b"x")
    assert opened(tmp_path).skipped.listed == [
        "1.tar.part is not read; complete it, or rename it so that it ends in .tar",
        "2.tar.1 is not read; complete it, or rename it so that it ends in .tar",
        "1 images beside the tars (c.heic) are not read; give them a folder of their own",
    ]


def header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """A header with any field of the size, and the right check sum."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = size.ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


BELOW = b"\xff" * 10 + b"\xfc\x00"
"""-1,024 in base 256."""
LONG = b"9" * 2**19


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (header("odd.jpg", BELOW), r" \(a size of -1,024 at byte \d"),
        (header("odd.jpg", b"\x80" + b"\xff" * 11), r" \(a place at byte \d"),
        (header("x", BELOW, b"x"), r" \(a header of -1,024 bytes at byte \d"),
        (header("x", b"\x80\0\0\0\0\0\0\x01\0\0\0\0", b"g"), r" \(a header of 4,294,967,296 bytes at byte \d"),
        (header("x", b"%o" % len(LONG), b"x") + LONG, r" \(records of another length than they say, at byte \d"),
        (header("x", b"%o" % 512, b"x") + b"2 " * 255 + b"=\n", r" \(records of another length than they say, at byte \d"),
        ((header("x", b"14", b"x") + b"12 mtime=no\n".ljust(512, b"\0")) * 1500, r" \(a header that says what cannot be\)"),
        (bytes(256) + b"?" * 256, ""),
    ],
)
def test_headers_that_say_what_cannot_be_end_the_listing_and_say_why(odd, why, tmp_path):
    whole = tar(tmp_path / "a.tar", {f"{n}.jpg": picture(n) for n in range(3)}).read_bytes()
    members = whole[: whole.rindex(b"2.jpg")]
    (tmp_path / "a.tar").write_bytes(members + odd + whole[len(members) :])
    source = opened(tmp_path / "a.tar")
    assert [source[i].id for i in range(len(source))] == ["a/0", "a/1"]
    assert re.match(rf"a\.tar: damaged, compressed or ends early{why}", source.skipped.listed[0])


def test_members_without_a_name_and_sparse_files_with_odd_holes_are_named(tmp_path):
    def odd(**records: str) -> bytes:
        """A tar of one member, with records of its pax header."""
        file, info = io.BytesIO(), tarfile.TarInfo("x.jpg")
        info.size, info.pax_headers = 512, {name.replace("_", "."): value for name, value in records.items()}
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(info, io.BytesIO(bytes(512)))
        return file.getvalue()

    holes = (("a.jpg", "0,256,100,256", 600), ("b.jpg", "0,512", 2**40), ("c.jpg", "512,512", 600))
    parts = [odd(path=name, GNU_sparse_map=parts, GNU_sparse_size=str(size)) for name, parts, size in holes]
    good = tar(tmp_path / "a.tar", {"1.jpg": picture(1)}).read_bytes()
    (tmp_path / "a.tar").write_bytes(b"".join([*parts, odd(path=""), odd(path="x" * 2000 + ".jpg"), good]))
    source = opened(tmp_path / "a.tar")
    assert [source[i].id for i in range(len(source))] == ["a/1"]
    assert [line.removeprefix("a.tar: ") for line in source.skipped.listed] == [
        *(f"{name} is a sparse file with odd holes; write the tar anew without -S" for name in ("a.jpg", "b.jpg", "c.jpg")),
        "the member at byte 30,720 has no name; write the tar anew",
        "the member at byte 40,960 has a name of 2,004 characters; write the tar anew",
    ]
