"""Fetch real images out of packages, as a folder for a run of recaptioning: screenshots, drawings, photographs, with what people
wrote of them in ``.txt`` files beside.

    python benchmarks/real_run/fetch.py --out data/real

Packages are pinned by version and sha256, asked for through Debian's own tools, and unpacked without being installed; the
photographs of scikit-image and scikit-learn are those that are installed. Images keep their bytes.
"""

import argparse
import html
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from finevit.commands.fetch_images import SETS, Package, fetch, stamps

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
Found = Iterator[tuple[str, Path, str]]


def screenshots(package: Path) -> Found:
    """Yield the pictures of GIMP's manual; one that is a figure has its title, and what stands below it, as caption."""
    root = package / "usr/share/gimp/2.0/help/en"
    captions: dict[str, str] = {}
    for page in sorted(root.glob("*.html")):
        for image, caption in figures(page.read_text("utf-8", errors="replace")):
            captions.setdefault(image, caption)
    for image in sorted(root.glob("images/**/*")):
        if image.suffix.lower() in SUFFIXES:
            name = image.relative_to(root).as_posix()
            yield name.removeprefix("images/"), image, captions.get(name, "")


def figures(page: str) -> Iterator[tuple[str, str]]:
    """Each picture of the figures of a page, with its caption."""
    for figure in re.findall(r'<div class="figure">(.*?)<br class="figure-break"', page, re.DOTALL):
        title = re.sub(r"^Figure\s[\d.]+\s", "", _plain(r'<p class="title">(.*?)</p>', figure))
        for item in re.split(r'<div class="mediaobject">', figure)[1:]:
            below = _plain(r'<div class="caption">(.*?)</div>', item)
            for image in re.findall(r'<img src="([^"]+)"', item):
                yield image, f"{title.rstrip('.')}. {below}" if title and below else title or below


def _plain(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", match[1])).split()) if match else ""


def wallpapers(package: Path) -> Found:
    """Yield photographs and patterns of many megapixels; nobody wrote of them."""
    root = package / "usr/share/backgrounds/mate"
    for image in sorted(root.rglob("*")):
        if image.suffix.lower() in SUFFIXES and not image.is_symlink():
            yield image.relative_to(root).as_posix(), image, ""


def photographs() -> Found:
    """Yield the photographs and pages of two packages that are installed."""
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images")):
        found = find_spec(package)
        if found is None or found.origin is None:
            raise SystemExit(f"{package} is not installed here: pip install scikit-image scikit-learn")
        for image in sorted((Path(found.origin).parent / folder).iterdir()):
            if image.suffix.lower() in SUFFIXES:
                yield f"{package}-{image.name}", image, ""


class Part(NamedTuple):
    """A folder of the set, the package that it comes from, and what reads that."""

    name: str
    package: Package
    read: Callable[[Path], Found]
    licence: str


PARTS = (
    Part(
        "screenshots",
        Package("debian", "gimp-help-en", "2.10.34-2", "a2deec76763aaf2fcdd197bac0736cdcb0770ba993d48d233329e1c92b0bfe36"),
        screenshots,
        "GFDL",
    ),
    Part("stamps", SETS["tuxpaint"].packages[0], stamps, SETS["tuxpaint"].licence),
    Part(
        "wallpapers",
        Package("debian", "mate-backgrounds", "1.26.0-1", "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04"),
        wallpapers,
        "GPL-2, CC-BY-SA",
    ),
)


def write(out: Path) -> dict[str, Counter[str]]:
    """The set in the new folder ``out``, which appears when it is complete; counts of images and captions by part."""
    counts: dict[str, Counter[str]] = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        made = Path(temporary, "images")
        for part in PARTS:
            counts[part.name] = keep(part.read(fetch(part.package, Path(temporary))), made / part.name)
        counts["photographs"] = keep(photographs(), made / "photographs")
        made.rename(out)
    return counts


def keep(found: Found, folder: Path) -> Counter[str]:
    """Copies of the images, each with its text; two of one stem get different ones."""
    counts: Counter[str] = Counter()
    for name, image, caption in found:
        target = folder / name
        while target.with_suffix(".txt").exists() or any(target.with_suffix(suffix).exists() for suffix in SUFFIXES):
            target = target.with_stem(f"{target.stem}-2")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
        counts["images"] += 1
        if caption:
            target.with_suffix(".txt").write_text(caption + "\n", "utf-8")
            counts["captions"] += 1
    return counts


def main() -> None:
    """Fetch, and say what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"--out {arguments.out} exists; remove it or choose another folder")
    for name, count in write(arguments.out).items():
        print(f"{name:12}  {count['images']:5,} images, {count['captions']:5,} with a caption")


if __name__ == "__main__":
    main()
