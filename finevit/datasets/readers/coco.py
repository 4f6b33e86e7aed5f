"""Retrieval sets with five short captions an image: COCO and Flickr30k (evaluation of Stage II)."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from finevit.registry import BENCHMARKS, DATASETS
from finevit.suggest import did_you_mean

from .fields import field, identity, path_of, short, value
from .files import Skipped, clean
from .fixed import Entry, FixedSet, annotation_file, expecting, load_json, numbered, usable
from .instances import by_id

CAPTIONS = 5
"""Captions of an image that count: its first five, as usual; a few images of COCO have six or seven."""


@BENCHMARKS.register_module(name=["coco-karpathy", "flickr30k-karpathy"])
@DATASETS.register_module()
class Karpathy(FixedSet):
    """``dataset_coco.json`` or ``dataset_flickr30k.json`` of Karpathy and Fei-Fei: ``caption-1`` to ``caption-5`` of each image.

    The usual sets: COCO ``test`` (5,000 images), Flickr30k ``test`` (1,000) and, another protocol, Flickr30k ``all`` (31,014).

    Args:
        annotations: the JSON file.
        image_root: folder of ``val2014/COCO_val2014_*.jpg``, or of Flickr's images; by default that of the file.
        split: ``train`` (with COCO's ``restval``), ``val``, ``test`` or ``all``.
    """

    task = "retrieval"

    def __init__(self, *, annotations: str | Path, image_root: str | Path | None = None, split: str = "test") -> None:
        path, root = annotation_file(annotations, image_root)
        content = load_json(path)
        images = content.get("images") if isinstance(content, dict) else None
        if not isinstance(images, list) or not any(isinstance(image, Mapping) and "sentences" in image for image in images):
            raise ValueError(
                f"annotations={str(annotations)!r} is no file of Karpathy's splits: looked for 'images' with 'sentences' in it; "
                f"it holds {_keys(content)}. COCO's own captions_val2017.json is read by CocoCaptions, another set of images"
            )
        skipped, what = Skipped(), "an image with filename, split and sentences"
        named = [(name, (name, image)) for name, image in numbered("image", images) if isinstance(image, Mapping)]
        found = list(usable(named, _divided, skipped, path=path, of="images", what=what))
        splits = ("all", *sorted({part for part, _ in found}))
        if split not in splits:
            raise ValueError(f"split={split!r} is not in {path.name}{did_you_mean(split, splits)}; it has {', '.join(splits)}")
        if strange := len(images) - len(named):
            skipped.note(f"{strange:,} of 'images' that are no objects")
        chosen = [image for part, image in found if split in ("all", part)]
        entries = list(_captioned(_karpathy(chosen, skipped, path), skipped))
        about = (
            f"{content.get('dataset', path.stem)}, Karpathy's split {split!r} of {len(images):,} images, first {CAPTIONS} captions"
        )
        super().__init__(origin=path, image_root=root, setting="image_root", entries=entries, about=about, skipped=skipped)


@BENCHMARKS.register_module(name="coco-val2017")
@DATASETS.register_module()
class CocoCaptions(FixedSet):
    """COCO's own ``captions_val2017.json``: 5,000 other images than Karpathy's test split; ``caption-1`` to ``caption-5`` of each.

    Args:
        annotations: the JSON file.
        image_root: folder of the images (``val2017``); by default that of the file.
    """

    task = "retrieval"

    def __init__(self, *, annotations: str | Path, image_root: str | Path | None = None) -> None:
        path, root = annotation_file(annotations, image_root)
        content = load_json(path)
        if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
            raise ValueError(
                f"annotations={str(annotations)!r} is no file of COCO captions: looked for 'images' and 'annotations'; "
                f"it holds {_keys(content)}"
            )
        skipped, about = Skipped(), f"{path.stem}, first {CAPTIONS} captions"
        what = "an image with id and file_name, or a caption of one"
        with expecting(path, "a file with lists of images and annotations"):
            listed, texted = field(content, "images", list), field(content, "annotations", list)
            _, twice = by_id(listed)
        names = dict(usable(numbered("image", listed), _name(twice), skipped, path=path, of="images", what=what))
        texts = dict[str, list[str]]((number, []) for number in names)
        found = list(usable(numbered("annotation", texted), _caption(names), skipped, path=path, of="captions", what=what))
        if all(isinstance(place, int) for place, _, _ in found):
            found.sort(key=itemgetter(0))
        for _, number, text in found:
            texts[number].append(text)
        entries = list(_captioned(((names[number], names[number], found) for number, found in texts.items()), skipped))
        super().__init__(origin=path, image_root=root, setting="image_root", entries=entries, about=about, skipped=skipped)


def _name(twice: Collection[str]) -> Callable[[Mapping], tuple[str, str]]:
    """Reads an image as its number, which no other has, and its file."""

    def read(image: Mapping) -> tuple[str, str]:
        if (number := identity(image, "id")) in twice:
            raise ValueError(f"the file has several images of the id {number}")
        return number, path_of(image, "file_name")

    return read


def _caption(names: Mapping[str, str]) -> Callable[[Mapping], tuple[Any, str, str]]:
    """Reads an annotation as its id, the number of its image, which has one of the ``names``, and a caption."""

    def read(annotation: Mapping) -> tuple[Any, str, str]:
        number = identity(annotation, "image_id")
        if number not in names:
            raise ValueError(f"its image {annotation['image_id']!r} is not in the file")
        return annotation.get("id"), number, worded(annotation, "caption")

    return read


def worded(entry: object, name: str) -> str:
    """The caption in a field of an entry, on one line; ``ValueError`` where it is no text or has no words."""
    text = value(entry, name)
    if not isinstance(text, str) or not clean(text):
        raise ValueError(f"its caption is {short(text)}")
    return clean(text)


def _karpathy(images: Iterable[tuple[str, Mapping]], skipped: Skipped, path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Name, path and captions of Karpathy's images: COCO names a folder too, Flickr a file alone."""

    def read(image: Mapping) -> tuple[str, str, list[str]]:
        name, folder = path_of(image, "filename"), field(image, "filepath", str, "")
        name = f"{folder}/{name}" if folder else name
        first = field(image, "sentences", list)[:CAPTIONS]
        sentences = [(f"{name}: sentence {place}", sentence) for place, sentence in enumerate(first)]
        read, what = (lambda sentence: worded(sentence, "raw")), "a sentence with its raw text"
        return name, name, list(usable(sentences, read, skipped, path=path, of="captions", what=what))

    return usable(images, read, skipped, path=path, of="images", what="an image with filename and sentences")


def _captioned(images: Iterable[tuple[str, str, list[str]]], skipped: Skipped) -> Iterator[Entry]:
    for name, path, texts in images:
        if texts:
            yield Entry(name, path, {f"caption-{place}": text for place, text in enumerate(texts[:CAPTIONS], start=1)})
        else:
            skipped.add(f"{name}: has no caption")


def _divided(named: tuple[str, Mapping]) -> tuple[str, tuple[str, Mapping]]:
    """Karpathy's split of an image, and the image; what is left of COCO's validation images is trained on."""
    split = named[1].get("split", "")
    if not isinstance(split, str):
        raise ValueError(f"its split is {short(split)}")
    return "train" if split == "restval" else split, named


def _keys(content: object) -> str:
    return ", ".join(map(repr, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
