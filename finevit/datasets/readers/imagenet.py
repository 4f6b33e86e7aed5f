"""Classification sets as one folder of images a class: ImageNet and its relatives (zero-shot protocols of the evaluation)."""

import re
from pathlib import Path

from finevit.registry import DATASETS

from .files import IMAGE_SUFFIXES, Skipped, existing
from .fixed import Entry, FixedSet, listed

_REMEDY = (
    "put the images of each class into a folder of its own, named by its WordNet id (n01440764) or its name; "
    "torchvision.datasets.ImageNet(root, split='val') does so from the original archives"
)


@DATASETS.register_module()
class ImageNetFolder(FixedSet):
    """Images in one folder a class; ``facts["label"]`` is the place of the folder's name among all of them, sorted.

    ``classes`` are the folders' names: WordNet ids for ImageNet, ImageNet-A or -R, any names for other sets. A folder without
    images is no class, unless a WordNet id says that it should be: then the set is incomplete.

    Args:
        data_root: the folder of the classes' folders, or one with ``split`` in it.
        split: the subfolder to look for.
    """

    def __init__(self, *, data_root: str | Path, split: str = "val") -> None:
        root = existing(data_root)
        root = root / split if (root / split).is_dir() else root
        found = {path.name: _images(path) for path in sorted(root.iterdir()) if path.is_dir() and path.name[0] != "."}
        found = {name: images for name, images in found.items() if images or re.fullmatch(r"n\d{8}", name)}
        self.classes = tuple(found)
        if sum(map(bool, found.values())) < 2:
            flat = len(_images(root))
            there = f"{flat:,} images in one folder, without their classes" if flat else listed(root)
            raise ValueError(f"data_root={str(data_root)!r}: {root} holds {there}; {_REMEDY}")
        entries = [
            Entry(f"{name}/{image}", f"{name}/{image}", facts={"label": label})
            for label, name in enumerate(self.classes)
            for image in found[name]
        ]
        skipped = Skipped()
        for name in (name for name, images in found.items() if not images):
            skipped.add(f"{name}: its folder holds no image")
        about = f"{root.name}, {len(self.classes):,} classes"
        super().__init__(origin=root, image_root=root, setting="data_root", entries=entries, about=about, skipped=skipped)


def _images(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
