"""Retrieval sets with five short captions an image: COCO and Flickr30k (evaluation of Stage II)."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from finevit.registry import DATASETS
from finevit.suggest import did_you_mean

from .files import Skipped, clean
from .fixed import Entry, FixedSet, annotation_file, expecting, load_json

CAPTIONS = 5
"""Captions of an image that count: its first five, as usual; a few images of COCO have six or seven."""


@DATASETS.register_module()
class Karpathy(FixedSet):
    """``dataset_coco.json`` or ``dataset_flickr30k.json`` of Karpathy and Fei-Fei: ``caption-1`` to ``caption-5`` of each image.

    The usual sets: COCO ``test`` (5,000 images), Flickr30k ``test`` (1,000) and, another protocol, Flickr30k ``all`` (31,014).

    Args:
        annotations: the JSON file.
        image_root: folder of ``val2014/COCO_val2014_*.jpg``, or of Flickr's images; by default that of the file.
        split: ``train`` (with COCO's ``restval``), ``val``, ``test`` or ``all``.
    """

    def __init__(self, *, annotations: str | Path, image_root: str | Path | None = None, split: str = "test") -> None:
        path, root = annotation_file(annotations, image_root)
        content = load_json(path)
        images = content.get("images") if isinstance(content, dict) else None
        if not isinstance(images, list) or not images or "sentences" not in images[0]:
            raise ValueError(
                f"annotations={str(annotations)!r} is no file of Karpathy's splits: looked for 'images' with 'sentences' in it; "
                f"it holds {_keys(content)}. COCO's own captions_val2017.json is read by CocoCaptions, another set of images"
            )
        splits = ("all", *sorted({_split(image) for image in images}))
        if split not in splits:
            raise ValueError(f"split={split!r} is not in {path.name}{did_you_mean(split, splits)}; it has {', '.join(splits)}")
        skipped = Skipped()
        with expecting(path, "an image with filename and sentences"):
            entries = list(_karpathy([image for image in images if split in ("all", _split(image))], skipped))
        about = (
            f"{content.get('dataset', path.stem)}, Karpathy's split {split!r} of {len(images):,} images, first {CAPTIONS} captions"
        )
        super().__init__(origin=path, image_root=root, setting="image_root", entries=entries, about=about, skipped=skipped)


@DATASETS.register_module()
class CocoCaptions(FixedSet):
    """COCO's own ``captions_val2017.json``: 5,000 other images than Karpathy's test split; ``caption-1`` to ``caption-5`` of each.

    Args:
        annotations: the JSON file.
        image_root: folder of the images (``val2017``); by default that of the file.
    """

    def __init__(self, *, annotations: str | Path, image_root: str | Path | None = None) -> None:
        path, root = annotation_file(annotations, image_root)
        content = load_json(path)
        if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
            raise ValueError(
                f"annotations={str(annotations)!r} is no file of COCO captions: looked for 'images' and 'annotations'; "
                f"it holds {_keys(content)}"
            )
        skipped, about = Skipped(), f"{path.stem}, first {CAPTIONS} captions"
        with expecting(path, "an image with id and file_name, or a caption of one"):
            texts: dict[int, list[str]] = {image["id"]: [] for image in content["images"]}
            for annotation in sorted(content["annotations"], key=lambda annotation: annotation["id"]):
                texts[annotation["image_id"]].append(annotation["caption"])
            images = ((image["file_name"], image["file_name"], texts[image["id"]]) for image in content["images"])
            entries = list(_captioned(images, skipped))
        super().__init__(origin=path, image_root=root, setting="image_root", entries=entries, about=about, skipped=skipped)


def _karpathy(images: Iterable[Mapping], skipped: Skipped) -> Iterator[Entry]:
    """Entries of Karpathy's images: COCO names a folder too, Flickr a file alone."""
    paths = [f"{image['filepath']}/{image['filename']}" if image.get("filepath") else image["filename"] for image in images]
    texts = [[sentence["raw"] for sentence in image["sentences"]] for image in images]
    return _captioned(zip(paths, paths, texts, strict=True), skipped)


def _captioned(images: Iterable[tuple[str, str, list[str]]], skipped: Skipped) -> Iterator[Entry]:
    for identity, path, texts in images:
        cleaned = [text for text in map(clean, texts[:CAPTIONS]) if text]
        if cleaned:
            yield Entry(identity, path, {f"caption-{place}": text for place, text in enumerate(cleaned, start=1)})
        else:
            skipped.add(f"{identity}: has no caption")


def _split(image: Mapping) -> str:
    """Karpathy's split of an image; what is left of COCO's validation images is trained on."""
    split = image.get("split", "")
    return "train" if split == "restval" else split


def _keys(content: object) -> str:
    return ", ".join(map(repr, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
