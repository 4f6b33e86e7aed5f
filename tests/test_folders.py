"""Folders of images as people keep them: other endings, captions in other files, leavings of programs; nothing vanishes unnamed."""

import errno
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from finevit.contracts import BadSample
from finevit.datasets.decoding.images import decode
from finevit.datasets.readers import ImageFolder, ImageNetFolder, open_source
from finevit.datasets.readers.files import Skipped
from finevit.datasets.readers.unread import Unread


def picture(value: int = 0, format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (value, 0, 0)).save(file, format, **({"quality": 95} if format == "JPEG" else {}))
    return file.getvalue()


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def opened(root: Path) -> ImageFolder:
    return open_source(data_root=root, split="all")


def test_other_names_of_known_formats_are_read(tmp_path):
    files = {
        "a.jfif": picture(10),
        "b.JPE": picture(60),
        "c.jif": picture(90),
        "d.pnm": picture(130, "PPM"),
        "a.txt": "a",
        "b.txt": "b",
    }
    source = opened(write(tmp_path, files))
    records = [source[i] for i in range(len(source))]
    assert [(record.id, record.captions.get("alt")) for record in records] == [
        ("a.jfif", "a"), ("b.JPE", "b"), ("c.jif", None), ("d.pnm", None),
    ]  # fmt: skip
    assert [int(decode(record.image, name="")[0, 0, 0]) for record in records] == pytest.approx([10, 60, 90, 130], abs=2)
    assert source.skipped.count == 0


def test_images_that_are_not_read_count_once_each_with_their_texts(tmp_path):
    files = {
        "a.jpg": picture(), "b.heic": "x", "b.txt": "lost with b", "c.HEIC": "x", "d.jp2": "x", "x/e": picture(), "x/e.txt": "e",
        "x/f": picture(), "g.jpg_large": picture(20), "LICENSE": "text", "h.txt": "alone", "i.npy": b"\x93NUMPY",
    }  # fmt: skip
    source = opened(write(tmp_path, files))
    assert [source[i].id for i in range(len(source))] == ["a.jpg"]
    assert sorted(source.skipped.listed) == [
        "1 .jp2 (d.jp2): images of a format that is not read; convert them to .jpg or .png",
        "1 .jpg_large (g.jpg_large): images without the ending of one; rename them (.jpg, .png, ...)",
        "2 .heic (b.heic): images of a format that is not read; convert them to .jpg or .png",
        "2 without an ending (x/e): images without the ending of one; rename them (.jpg, .png, ...)",
        "h.txt has no image; restore the image or remove the text",
    ]
    assert (source.skipped.count, source.skipped.seen) == (7, 8)
    assert list(source.skipped.notes) == ["1 without an ending (LICENSE)", "1 .npy (i.npy)"]
    assert source.describe().endswith("7 unusable entries left out; not read: 1 without an ending (LICENSE); 1 .npy (i.npy)")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("1.caption", "rename them"),
        ("captions.csv", "captions in tables are read from .jsonl"),
        ("captions.tsv", "captions in tables are read from .jsonl"),
        ("data/train-00000-of-00001.parquet", "captions in tables are read from .jsonl"),
        ("captions.jsonl.gz", "decompress it"),
        ("train/metadata.jsonl", "give its path, or its folder, as data_root"),
        ("1.json", "captions beside images are read from .txt or one .jsonl"),
        ("shards/0.tar", "give the folder that holds the tars as data_root"),
        ("labels/captions.txt", "captions of several images are read from .jsonl"),
    ],
)
def test_captions_that_lie_there_unread_are_told_with_the_remedy(tmp_path, name, remedy):
    source = opened(write(tmp_path / "own", {"1.jpg": picture(), name: "x"}))
    ((what, told),) = source.skipped.notes.items()
    ending = name[name.rindex(".") :]
    assert what == f"1 {ending} ({name})"
    assert remedy in told
    assert source.skipped.count == 0
    (tmp_path / "own/1.jpg").unlink()
    with pytest.raises(ValueError, match=rf"holds no images \(.*\): found 1 \{ending}; 1 \{ending} \({name}\): .*{remedy}"):
        opened(tmp_path / "own") if not name.endswith((".jsonl", ".tar")) else ImageFolder(data_root=tmp_path / "own")


def test_a_file_that_is_no_data_says_what_to_do_with_it(tmp_path):
    write(tmp_path, {"a.tar.gz": "x", "b.csv": "x", "c.heic": "x"})
    for name, told in (("a.tar.gz", "decompress it"), ("b.csv", "read from .jsonl; convert"), ("c.heic", "images of that format")):
        with pytest.raises(ValueError, match=rf"is a file but neither a \.tar nor a \.jsonl; .*{told}"):
            open_source(data_root=tmp_path / name)


def test_leavings_of_programs_are_passed_over(tmp_path):
    files = dict.fromkeys(("._a.jpg", "__MACOSX/._a.jpg", "Thumbs.db", "x/desktop.ini", ".DS_Store", ".cache/b.jpg"), b"x")
    source = opened(write(tmp_path, {"a.jpg": picture(), **files}))
    assert (len(source), source.skipped.count, source.skipped.notes) == (1, 0, {})
    assert source.describe().endswith("split 'all' shows 1")


def test_many_endings_are_told_in_few_lines():
    unread, skipped = Unread(), Skipped()
    for number in range(40):
        for place in range(1 + (number < 3)):
            unread.meet(f"{place}.jpg?w={number}", f".jpg?w={number}", lambda: picture())
    unread.report(skipped)
    assert [said.partition(" (")[0] for said in skipped.listed] == [
        "2 .jpg?w=0", "2 .jpg?w=1", "2 .jpg?w=2", "1 .jpg?w=3", "1 .jpg?w=4", "35 of 35 further endings",
    ]  # fmt: skip
    assert skipped.count == 43
    assert str(skipped).endswith("; and 35 more")


def test_only_the_first_files_of_an_ending_are_looked_into():
    unread, looked = Unread(), []
    for number in range(100):
        unread.meet(f"{number}.dat", ".dat", lambda: looked.append(1) or picture())
    assert (len(looked), unread.counts) == (8, {("misnamed", ".dat"): 100})


def test_a_caption_with_the_ending_of_its_image_in_its_name_says_so(tmp_path):
    source = opened(write(tmp_path, {"a.JPG": picture(), "a.JPG.txt": "one", "b.jpg": picture(), "c.txt": "lone"}))
    assert source.skipped.listed == [
        "a.JPG.txt has no image; name it without the image's ending (a.txt)",
        "c.txt has no image; restore the image or remove the text",
    ]


def test_a_caption_that_cannot_be_read_costs_no_image(tmp_path):
    write(tmp_path, {"a.jpg": picture(40), "b.jpg": picture(80), "b.txt": "b"})
    (tmp_path / "a.txt").symlink_to("gone.txt")
    record = opened(tmp_path)[0]
    assert (record.id, dict(record.captions), decode(record.image, name="a")[0, 0, 0]) == ("a.jpg", {"alt": ""}, 40)
    assert record.unread["alt"].startswith("a.txt: cannot read ")


def test_a_pipe_among_images_is_a_bad_sample_and_not_waited_for(tmp_path):
    write(tmp_path, {"a.jpg": picture(40)})
    for name in ("b.jpg", "c.xyz"):
        os.mkfifo(tmp_path / name)
    source = opened(tmp_path)
    assert source.size(1) is None
    with pytest.raises(BadSample, match=r"b\.jpg: cannot read .*b\.jpg \(a named pipe, not a regular file\); restore it"):
        source[1]


@pytest.fixture
def closed(monkeypatch) -> None:
    """Folders called ``closed`` may not be read, whoever asks."""

    def refusing(function):
        def called(path=".", *arguments):
            if Path(os.fspath(path)).name == "closed":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, *arguments)

        return called

    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))


def test_folders_that_cannot_be_read_are_counted_and_named(tmp_path, closed):
    root = write(tmp_path / "own", {"a/1.png": picture(), "a/closed/2.png": picture(), "b/3.png": picture()})
    source = opened(root)
    assert [source[i].id for i in range(len(source))] == ["a/1.png", "b/3.png"]
    line = "a/closed/ cannot be read (Permission denied), what it holds is unknown; check its permissions"
    assert (source.skipped.count, source.skipped.listed) == (1, [line])
    with pytest.raises(ValueError, match=r"own/a/closed cannot be read \(Permission denied\); check its permissions"):
        open_source(data_root=root / "a/closed")
    classes = write(tmp_path / "val", {"cat/1.png": picture(), "closed/1.png": picture(), "dog/1.png": picture()})
    images = ImageNetFolder(data_root=classes)
    assert [images[i].facts["label"] for i in range(len(images))] == [0, 2]
    assert images.skipped.listed == [
        "closed: its folder cannot be read (Permission denied), how many images it holds is unknown; check its permissions"
    ]


def test_links_in_circles_and_names_that_are_not_utf8_cost_themselves_alone(tmp_path):
    write(tmp_path, {"a/1.png": picture(), "a/1.txt": "a dog"})
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/self.png").symlink_to("self.png")
    (tmp_path / "a/one").symlink_to("two")
    (tmp_path / "a/two").symlink_to("one")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff\xfe.png")).write_bytes(picture())
    source = opened(tmp_path)
    assert len(source) == 3
    with pytest.raises(BadSample, match=r"a/self\.png: cannot read .*Too many levels of symbolic links"):
        source[next(i for i in range(3) if source._images[i] == "a/self.png")]
