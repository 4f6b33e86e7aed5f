"""What probes learn from and are tested on: embedded scenes, or people's data in the layouts of ImageNet, ADE20K and COCO."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from finevit.contracts import Source
from finevit.datasets.readers.files import existing
from finevit.datasets.readers.fixed import listed
from finevit.datasets.readers.imagenet import ImageNetFolder
from finevit.evaluation.probes.readers import CocoRegions, LabelMaps
from finevit.scenes import Scenes

SCENES = (1000, 500)
"""How many embedded scenes are looked at by default, to learn from and to test on."""
LAYOUTS = {
    "linear": "train/ and val/ with one folder of images a class, as ImageNet has",
    "segmentation": "images/training, images/validation, annotations/training and annotations/validation, as ADE20K has",
    "regions": "train*/ and val*/ with images, and annotations/instances_train*.json and instances_val*.json, as COCO has",
}
LAYOUTS |= {"knn": LAYOUTS["linear"], "attentive": LAYOUTS["linear"]}


class ProbeData(NamedTuple):
    """Two sources for some ``probes``, and the names of the ``classes``; those of label maps begin with the ``background`` where
    that is one."""

    probes: tuple[str, ...]
    train: Source
    test: Source
    classes: tuple[str, ...]
    background: bool = False


def scenes(probes: Sequence[str], *, level: str) -> list[ProbeData]:
    """Embedded scenes: the class of an image is that of its largest object."""
    train, test = Scenes(level=level, split="train"), Scenes(level=level, split="val")
    return [ProbeData(tuple(probes), train, test, tuple(train.classes), background=True)]


def folders(root: str | Path, probes: Sequence[str]) -> list[ProbeData]:
    """The data of a folder for some probes, those of one layout together; ``ValueError`` says what a layout lacks."""
    path, found = existing(root, setting="--data"), list[ProbeData]()
    for layout, reader in {LAYOUTS["linear"]: _classes, LAYOUTS["segmentation"]: _maps, LAYOUTS["regions"]: _boxes}.items():
        asked = tuple(probe for probe in probes if LAYOUTS[probe] == layout)
        if asked:
            found.append(reader(path, asked))
    return found


def fitting(root: str | Path) -> list[str]:
    """The probes whose layout a folder has."""
    path = existing(root, setting="--data")
    there = {
        "linear": (path / "train").is_dir() and (path / "val").is_dir(),
        "segmentation": (path / "images/training").is_dir(),
        "regions": any(path.glob("annotations/instances_train*.json")),
    }
    found = [probe for probe, layout in LAYOUTS.items() if any(here and LAYOUTS[name] == layout for name, here in there.items())]
    if not found:
        known = "; or ".join(dict.fromkeys(LAYOUTS.values()))
        raise ValueError(f"--data={str(root)!r} holds {listed(path)}; expected {known}")
    return found


def _classes(root: Path, probes: tuple[str, ...]) -> ProbeData:
    _expect(root, probes[0], "train", "val")
    train, test = (ImageNetFolder(data_root=root / split, split="") for split in ("train", "val"))
    if train.classes != test.classes:
        differ = sorted(set(train.classes) ^ set(test.classes))
        raise ValueError(
            f"--data={str(root)!r}: train/ and val/ hold different classes: {len(differ)} are in one of them alone "
            f"({', '.join(differ[:3])}); give both the same folders"
        )
    return ProbeData(probes, train, test, train.classes)


def _maps(root: Path, probes: tuple[str, ...]) -> ProbeData:
    _expect(root, probes[0], *(f"{kind}/{split}" for kind in ("images", "annotations") for split in ("training", "validation")))
    train, test = (LabelMaps(root=root, split=split) for split in ("training", "validation"))
    return ProbeData(probes, train, test, ())


def _boxes(root: Path, probes: tuple[str, ...]) -> ProbeData:
    sets = []
    for split in ("train", "val"):
        files = sorted(root.glob(f"annotations/instances_{split}*.json"))
        if len(files) != 1:
            there = ", ".join(file.name for file in files) or listed(root / "annotations")
            raise ValueError(
                f"--data={str(root)!r}: annotations/ holds {there}, where one instances_{split}*.json is needed; "
                f"regions expects {LAYOUTS['regions']}"
            )
        folder = files[0].stem.removeprefix("instances_")
        _expect(root, probes[0], folder)
        sets.append(CocoRegions(annotations=files[0], image_root=root / folder))
    train, test = sets
    if train.names != test.names:
        raise ValueError(f"--data={str(root)!r}: the files of train and val have different categories; give both the same")
    return ProbeData(probes, train, test, train.names)


def _expect(root: Path, probe: str, *names: str) -> None:
    if lacking := [name for name in names if not (root / name).is_dir()]:
        raise ValueError(
            f"--data={str(root)!r} has no folder {' and no folder '.join(lacking)}; it holds {listed(root)}; "
            f"{probe} expects {LAYOUTS[probe]}"
        )
