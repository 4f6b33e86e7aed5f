"""Retrieval sets with one long caption an image: Urban-1k, ShareGPT4V-1k, Densely Captioned Images (evaluation of Stage II)."""

import json
import re
from collections.abc import Iterator, Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from finevit.contracts import BadSample
from finevit.registry import BENCHMARKS, DATASETS
from finevit.storage.regular import open_regular

from .encodings import decode_caption, encoding_of, text_lines
from .fields import Odd, field, key_of, path_of, short
from .files import IMAGE_SUFFIXES, MAX_TEXT, Skipped, clean, existing, read
from .fixed import Entry, FixedSet, annotation_file, expecting, folder, listed, load_json, numbered, usable

_CHUNK = 1 << 20  # characters of a JSON file that are read at a time
_LONGEST = 1 << 24  # characters of an entry


@BENCHMARKS.register_module(name="urban-1k")
@DATASETS.register_module()
class Urban1k(FixedSet):
    """Long-CLIP's Urban-1k: ``image/1.jpg`` and ``caption/1.txt``, of which the first line counts.

    Args:
        data_root: the folder that holds ``image`` and ``caption``.
    """

    task = "retrieval"

    def __init__(self, *, data_root: str | Path) -> None:
        root = existing(data_root)
        images, texts = folder(root, "image", "images"), folder(root, "caption", "captions")
        files = {path.stem: path.name for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
        skipped, entries = Skipped(), []
        for path in sorted(
            (path for path in texts.iterdir() if path.suffix.lower() == ".txt" and path.name[0] != "."), key=_natural
        ):
            text, why = _first_line(path)
            image = files.pop(path.stem, f"{path.stem}.jpg")
            if text:
                entries.append(Entry(path.stem, image, {"long": text}))
            else:
                skipped.add(why or f"{path}: its first line is empty")
        if not entries:
            raise ValueError(f"data_root={str(data_root)!r}: {texts} holds no captions (*.txt); it holds {listed(texts)}")
        for name in sorted(files.values()):
            skipped.add(f"{images / name}: has no caption in {texts}")
        about = "first line of each text"
        super().__init__(origin=root, image_root=images, setting="data_root", entries=entries, about=about, skipped=skipped)


@BENCHMARKS.register_module(name="sharegpt4v-1k")
@DATASETS.register_module()
class ShareGPT4V1k(FixedSet):
    """The first 1,000 entries of ``share-captioner_coco_lcs_sam_1246k_1107.json``; only that part of the file is read.

    Args:
        annotations: the JSON file.
        image_root: the folder that the entries' paths (``sam/images/sa_545504.jpg``) start at; by default that of the file.
    """

    task = "retrieval"

    def __init__(self, *, annotations: str | Path, image_root: str | Path | None = None) -> None:
        path, root = annotation_file(annotations, image_root)
        skipped, what = Skipped(), "an image with a second turn in its conversations"
        with expecting(path, what):  # or of another encoding
            items = list(enumerate(first_of_list(path, 1000)))
        entries = list(usable(numbered("entry", items), _conversation, skipped, path=path, of="images", what=what))
        about = f"first {len(items):,} entries"
        super().__init__(origin=path, image_root=root, setting="image_root", entries=entries, about=about, skipped=skipped)


@BENCHMARKS.register_module(name="dci")
@DATASETS.register_module()
class DCI(FixedSet):
    """Densely Captioned Images: ``annotations/*.json`` and ``photos/``, in the order of the annotations' names.

    Args:
        data_root: the folder of the data set, or the one above (``densely_captioned_images``).
        text: ``extended`` (short caption, then extra caption: what is reported for all 7,805 images), ``short`` or ``extra``.
    """

    task = "retrieval"

    texts = {"extended": ("short_caption", "extra_caption"), "short": ("short_caption",), "extra": ("extra_caption",)}

    def __init__(self, *, data_root: str | Path, text: str = "extended") -> None:
        if text not in self.texts:
            raise ValueError(f"text={text!r} is unknown; choose one of {', '.join(self.texts)}")
        root = existing(data_root)
        root = root / "densely_captioned_images" if (root / "densely_captioned_images").is_dir() else root
        annotations, photos = folder(root, "annotations", "complete"), folder(root, "photos")
        files = sorted(annotations.glob("*.json"), key=_natural)
        if not files:
            raise ValueError(f"data_root={str(data_root)!r}: {annotations} holds no .json files; it holds {listed(annotations)}")
        skipped, entries = Skipped(), []
        for path in files:
            try:
                entries.append(_dense(path, self.texts[text]))
            except ValueError as error:
                skipped.add(str(error))
        about = f"text {text!r} ({', then '.join(self.texts[text])})"
        super().__init__(origin=root, image_root=photos, setting="data_root", entries=entries, about=about, skipped=skipped)


def first_of_list(path: Path, count: int) -> Iterator[object]:
    """The first ``count`` items of a JSON list, without the rest of the file, which may be gigabytes."""
    decoder = json.JSONDecoder()
    with open_regular(path) as binary:
        encoding = encoding_of(binary.read(_CHUNK))
    with TextIOWrapper(open_regular(path), encoding=encoding) as file:
        text = file.read(_CHUNK).lstrip()
        if not text.startswith("["):
            raise ValueError(f"{path} must hold a list of entries; it starts with {text[:20]!r}")
        text = text[1:]
        while count:
            text = text.lstrip().removeprefix(",").lstrip()
            if text.startswith("]"):
                return
            try:
                item, end = decoder.raw_decode(text)
            except RecursionError as error:
                raise ValueError(f"{path} is not valid JSON ({error}); fetch it again") from None
            except ValueError as error:
                if len(text) > _LONGEST or not (more := file.read(_CHUNK)):
                    raise ValueError(f"{path} is not valid JSON ({error}); fetch it again") from None
                text += more
            else:
                yield item
                count, text = count - 1, text[end:]


def _conversation(placed: tuple[int, Any]) -> Entry:
    place, item = placed
    turns = field(item, "conversations", list)
    if len(turns) < 2:
        raise Odd(f"its 'conversations' has {len(turns)} turns")
    if not (caption := clean(field(turns[1], "value", str))):
        raise Odd("the second turn of its 'conversations' is empty")
    return Entry(f"{place}/{_named(item)}", path_of(item, "image"), {"long": caption})


def _named(item: Mapping[str, Any]) -> str:
    """The entry's own id, where it is one."""
    found = item.get("id", "")
    return key_of(found) if isinstance(found, str | int | float) else ""


def _dense(path: Path, fields: tuple[str, ...]) -> Entry:
    content = load_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("image"), str):
        raise ValueError(f"{path}: has no 'image'")
    texts = [content.get(field) or "" for field in fields]
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(f"{path}: {short(wrong[0])} is no caption")
    caption = clean(" ".join(texts))
    if not caption:
        raise ValueError(f"{path}: has no {' and no '.join(fields)}")
    return Entry(path.stem, content["image"], {"long": caption})


def _first_line(path: Path) -> tuple[str, str]:
    """The first line of a text, and why there is none where the text cannot be read or decoded."""
    try:
        text, why = decode_caption(read(path, name=path.name, max_bytes=MAX_TEXT), str(path))
    except BadSample as error:
        return "", str(error)
    return clean(next(iter(text_lines(text)), "")), why


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.stem)]
