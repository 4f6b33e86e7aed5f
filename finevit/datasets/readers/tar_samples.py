"""Which files of a tar make up a sample: what shares a name up to its last dot, as ``a/22.05.jpg`` and ``a/22.05.txt`` do."""

from collections.abc import Iterator
from pathlib import Path

from .files import HEAD, IMAGE_SUFFIXES
from .tar_files import NOWHERE, Place, TarFiles, read_place
from .unread import Unread, ending_of

PARTS = ("image", "txt", "json", "cls")
"""The parts of a sample, in the order of ``TarIndex.spans``."""


class TarSamples:
    """``samples``: key -> part -> place, each with an image; ``problems``: what is lost, by name; ``unread``: what is not read."""

    def __init__(self, path: Path) -> None:
        self.problems, self.unread = list[str](), Unread()
        self._path, self._tar = path, TarFiles(path)
        self._found, self._names = dict[str, dict[str, Place]](), dict[tuple[str, str], str]()
        self._told = set[str]()  # samples whose image is not read, for a reason that was told
        for name, place in self._tar.files:
            if name.rpartition("/")[2][:1] not in ("", "."):
                self._put(name, place)
        self._set_parts_aside()
        self.samples = {key: parts for key, parts in self._found.items() if parts.get("image", NOWHERE) != NOWHERE}
        self._tell(lost=[key for key in self._found if key not in self.samples and key not in self._told])

    def _put(self, name: str, place: Place) -> None:
        """Note a file as part of its sample, or as not read."""
        folder, slash, base = name.rpartition("/")
        stem, _, ending = base.rpartition(".")
        key, part = folder + slash + stem, "image" if f".{ending.lower()}" in IMAGE_SUFFIXES else ending.lower()
        known = bool(stem) and part in PARTS
        if name in self._tar.broken and (known or not stem):
            self.problems.append(self._tar.broken[name])
            self._told.update([key] if part == "image" else [])
        elif known and part in self._found.get(key, ()):
            self.problems.append(f"{name} is one {part} too many for its sample")
        elif known:
            self._found.setdefault(key, {})[part] = place
            self._names[key, part] = name
        elif place != NOWHERE and self.unread.meet(name, ending_of(name), lambda: self._head(place)):
            self._told.add(key)

    def _head(self, place: Place) -> bytes:
        beginning = place if place.size < 0 else Place(place.offset, min(place.size, HEAD))
        return read_place(self._path, beginning, name=str(self._path))

    def _set_parts_aside(self) -> None:
        """Take out what is but a further part of another sample: ``000.seg.png`` beside ``000.jpg``."""
        images = {key for key, parts in self._found.items() if "image" in parts} | self._told
        for key in list(self._found):
            base = next((base for base in _shorter(key) if base in images), None)
            if base is not None and not self._stands_alone(key, base):
                for part in self._found.pop(key):
                    name = self._names[key, part]
                    self.unread.add("part", name.removeprefix(base), name)

    def _stands_alone(self, key: str, base: str) -> bool:
        """Whether ``two.v2`` beside ``two`` is a sample: with a text or label of its own, or with all that ``two`` has; of images
        alone, where the ending is the same and what comes before it has a digit."""
        own, others = self._found[key].keys(), self._found.get(base, {}).keys()
        if "image" not in own or own & {"txt", "cls"} or own != others or len(own) > 1:
            return "image" in own and (bool(own & {"txt", "cls"}) or own == others)
        endings = {self._names[one, "image"].rpartition(".")[2] for one in (key, base)}
        return len(endings) == 1 and any(map(str.isdigit, key.removeprefix(base)))

    def _tell(self, lost: list[str]) -> None:
        self.problems += self._tar.nameless
        if not self._tar.whole:
            why = f" ({self._tar.why})" if self._tar.why else ""
            found = (
                f"{len(self.samples):,} samples are readable, seen without a whole image: {len(lost):,}, what followed is unknown"
            )
            self.problems.append(f"damaged, compressed or ends early{why}; {found}; fetch or decompress it")
        if self._tar.behind:
            self.problems.append(f"{self._tar.behind:,} bytes behind its end are no tar; what they held is unknown; fetch it again")
        self.problems += [f"{key} has no whole image" for key in lost]


def _shorter(key: str) -> Iterator[str]:
    """``a/22`` and ``a/22.05`` of ``a/22.05.x``."""
    start = key.rfind("/") + 2  # a name does not begin with the dot
    return (key[:place] for place in range(start, len(key)) if key[place] == ".")
