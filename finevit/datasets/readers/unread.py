"""What lies among people's images and is not read: counted by ending, with the remedy, so that nothing vanishes in silence."""

from collections import Counter, defaultdict
from collections.abc import Callable

from finevit.datasets.decoding.images import header_size

from .files import IMAGE_SUFFIXES, Skipped

IMAGES = (
    *(".heic", ".heif", ".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".j2c", ".jxl", ".jxr", ".wdp", ".svg", ".svgz", ".psd", ".ico"),
    *(".tga", ".exr", ".hdr", ".dds", ".pcx", ".dib", ".apng", ".mpo", ".qoi", ".xcf", ".eps"),
    *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
)
"""Endings of images that are not read: each is an image lost."""
COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".lz4", ".zip", ".rar", ".7z", ".z")
_REMEDIES = {
    **dict.fromkeys(COMPRESSED, "decompress it"),
    **dict.fromkeys((".caption", ".cap", ".tags"), "captions are read from files that end in .txt; rename them"),
    **dict.fromkeys((".csv", ".tsv", ".parquet", ".arrow", ".xlsx"), "captions in tables are read from .jsonl; convert them"),
    ".json": "captions beside images are read from .txt or one .jsonl; convert them",
    ".jsonl": "give its path, or its folder, as data_root",
    ".ndjson": "rename it to .jsonl",
    ".tar": "give the folder that holds the tars as data_root",
    ".txt": "no image there has the same name; captions of several images are read from .jsonl",
}
_LITTER = ("thumbs.db", "desktop.ini")
_SHOWN = 5
_SNIFFED = 8  # files of an unknown ending that are looked into


class Unread:
    """Files that a reader comes across and does not read, by kind and ending; each kind is reported in its own words.

    Kinds: ``image`` and ``misnamed`` (a whole image, by its first bytes) are lost, and count. ``part`` belongs to a sample,
    ``file`` is anything else: they are told.
    """

    def __init__(self) -> None:
        self.counts = Counter[tuple[str, str]]()
        self.first: dict[tuple[str, str], str] = {}
        self._looked: dict[str, list[bool]] = defaultdict(list)

    def add(self, kind: str, ending: str, name: str, count: int = 1) -> None:
        """Count what is called ``name``, the first of ``count`` alike."""
        self.counts[kind, ending] += count
        self.first.setdefault((kind, ending), name)

    def rows(self) -> tuple[list[tuple[str, str, str]], list[int]]:
        """Kind, ending and first name of each, and how many: what ``add`` takes."""
        return [(*found, self.first[found]) for found in self.counts], list(self.counts.values())

    def meet(self, name: str, ending: str, head: Callable[[], bytes]) -> bool:
        """Count a file of an ending that is not read; ``head`` gives its first bytes. Whether it is an image, and so lost."""
        if name.rpartition("/")[2].lower() in _LITTER:
            return False
        kind = "image" if ending in IMAGES else "misnamed" if ending not in _REMEDIES and self._is_image(ending, head) else "file"
        self.add(kind, ending, name)
        return kind != "file"

    def _is_image(self, ending: str, head: Callable[[], bytes]) -> bool:
        """By the bytes of the first few of that ending, then as most of these were."""
        looked = self._looked[ending]
        if len(looked) < _SNIFFED:
            looked.append(header_size(head()) is not None)
            return looked[-1]
        return 2 * sum(looked) > len(looked)

    def found(self) -> str:
        """What is there where no image is, for people."""
        endings = Counter[str]()
        for (_, ending), count in self.counts.items():
            endings[ending] += count
        listed = ", ".join(f"{count:,} {ending or 'without ending'}" for ending, count in endings.most_common(_SHOWN))
        told = Skipped()
        self.report(told)
        remedies = [*told.listed, *(f"{what}: {remedy}" for what, remedy in told.notes.items() if remedy)]
        return f"found {listed}" + "".join(f"; {said}" for said in remedies) if listed else "it holds no files at all"

    def report(self, skipped: Skipped) -> None:
        """Tell a reader's ``skipped`` of all."""
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for (kind, ending), count in self.counts.items():
            kinds[kind][ending] += count
        for kind, endings in kinds.items():
            for ending, count in endings.most_common(_SHOWN):
                self._tell(skipped, kind, ending, f"{count:,} {ending or 'without an ending'} ({self.first[kind, ending]})", count)
            if rest := endings.most_common()[_SHOWN:]:
                total = sum(count for _, count in rest)
                self._tell(skipped, kind, rest[0][0], f"{total:,} of {len(rest):,} further endings ({rest[0][0]}, ...)", total)

    @staticmethod
    def _tell(skipped: Skipped, kind: str, ending: str, what: str, count: int) -> None:
        if kind == "image":
            skipped.add(f"{what}: images of a format that is not read; convert them to .jpg or .png", count)
        elif kind == "misnamed":
            skipped.add(f"{what}: images without the ending of one; rename them (.jpg, .png, ...)", count)
        elif kind == "part":
            named = any(ending.lower().startswith(f"{suffix}.") for suffix in IMAGE_SUFFIXES)
            skipped.note(
                what, "name them without the image's ending (a.txt, a.json)" if named else "parts of samples beside the image"
            )
        else:
            skipped.note(what, _REMEDIES.get(ending, ""))


def remedy(ending: str) -> str:
    """What to do about a file of that ending, for the end of a message; empty where nothing is known."""
    told = "images of that format are not read; convert it to .jpg or .png" if ending in IMAGES else _REMEDIES.get(ending, "")
    return f"; {ending}: {told}" if told else ""


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case; empty where it has none."""
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    return (dot + ending).lower() if stem else ""
