"""Regular files alone: whatever else is called like a file is refused, and not waited for."""

import os
import socket
import threading
import time

import pytest

from finevit.contracts import BadSample
from finevit.datasets.readers import CocoCaptions, CountBench, DocVQA, ImageFolder, JsonLines, OCRBench, open_source
from finevit.hub.locate import local_folder
from finevit.storage.regular import check_regular, open_regular, read_regular


@pytest.fixture
def odd(tmp_path):
    """What is no regular file, by what it is told to be; links to each lie beside it."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
    (tmp_path / "folder").mkdir()
    found = {"a named pipe": tmp_path / "pipe", "a socket": tmp_path / "socket", "a character device": "/dev/zero"}
    return found | {"Is a directory": tmp_path / "folder"}


@pytest.mark.parametrize("read", [check_regular, open_regular, lambda path: read_regular(path, max_bytes=8)])
def test_what_is_no_regular_file_is_told_at_once(odd, read, tmp_path):
    begin = time.monotonic()
    for number, (said, path) in enumerate(odd.items()):
        link = tmp_path / f"link{number}"
        link.symlink_to(path)
        for one in (path, link):
            with pytest.raises(OSError, match=said):
                read(one)
    assert time.monotonic() - begin < 1


def test_a_file_is_read_as_it_was_when_it_was_opened(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"12345678")
    assert check_regular(file) == 8
    assert read_regular(file, max_bytes=8) == b"12345678"
    with pytest.raises(OSError, match=r"8 bytes, more than the limit of 7"):
        read_regular(file, max_bytes=7)
    assert read_regular("/proc/self/maps", max_bytes=8) == b""  # of the system's own, without a size


def test_a_file_that_grows_is_read_to_an_end(tmp_path):
    file, end = tmp_path / "file", threading.Event()
    file.write_bytes(b"1" * 4096)

    def grow():
        with file.open("ab", buffering=0) as log:
            while not end.is_set():
                log.write(b"2" * 65536)
                log.truncate(4096)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        sizes = [len(read_regular(file, max_bytes=2**20)) for _ in range(200)]
    finally:
        end.set()
        writer.join()
    assert min(sizes) >= 4096
    assert max(sizes) <= 4096 + 65536


def test_no_descriptor_stays_open(odd):
    before = len(os.listdir("/proc/self/fd"))
    for said, path in odd.items():
        with pytest.raises(OSError, match=said):
            open_regular(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pipe_that_takes_a_files_place_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"1")
    passed = os.stat(file)
    file.unlink()
    os.mkfifo(file)
    monkeypatch.setattr(os, "stat", lambda *_, **__: passed)
    with pytest.raises(OSError, match="named pipe"):
        open_regular(file)


def test_a_models_folder_holds_regular_files_alone(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert local_folder(str(tmp_path)) == tmp_path
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors in this folder is no regular file; remove it"):
        local_folder(str(tmp_path))


def test_readers_neither_wait_for_what_is_no_file_nor_read_more_than_a_limit(tmp_path, monkeypatch):
    (tmp_path / "a.ppm").write_bytes(b"P6 2 2 255\n" + bytes(12))
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    source = ImageFolder(data_root=tmp_path, split="all")
    assert "a named pipe, not a regular file" in source[0].unread["alt"]
    with pytest.raises(BadSample, match=r"zero\.png: cannot read .* \(a character device, not a regular file\)"):
        source[1]
    monkeypatch.setattr("finevit.datasets.readers.jsonlines.MAX_ENTRY", 64)
    entries = ['{"image": "a.ppm"}', '{"image": "zero.png", "caption": "' + "long " * 40 + '"}', '{"id": 3, "image": "zero.png"}']
    (tmp_path / "set.jsonl").write_text("\n".join(entries))
    lines = JsonLines(data_root=tmp_path / "set.jsonl", split="all")
    assert len(lines) == 2
    assert lines.skipped.listed == ["set.jsonl line 2: 64 bytes or more, the limit of an entry; write one object a line"]
    with pytest.raises(BadSample, match=r"line 3 .*a character device"):
        lines[1]
    for path in (tmp_path / "a.txt", "/dev/zero"):
        for reader in (CocoCaptions, OCRBench, DocVQA, CountBench):
            with pytest.raises(ValueError, match=r"annotations=.* is neither a folder nor a regular file"):
                reader(annotations=path)
        with pytest.raises(ValueError, match=r"data_root=.* is neither a folder nor a regular file"):
            open_source(data_root=path)
