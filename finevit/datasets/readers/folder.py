"""A folder of images, each with an optional caption in a text file of the same stem."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from finevit.contracts import BadSample, Record
from finevit.registry import DATASETS

from .annotations import UNNAMED
from .encodings import decode_caption
from .files import IMAGE_SUFFIXES, MAX_TEXT, FileSource, Skipped, clean, existing, head, read
from .splits import Holdout, Strings
from .unread import Unread


@DATASETS.register_module()
class ImageFolder(FileSource):
    """All images below a folder, in the order of their relative paths, which are also their ids.

    Endings may be in upper or lower case; hidden files and folders are ignored; links are followed. The caption of
    ``a/b.jpg`` is the whole of ``a/b.txt`` (see ``encodings.decode_text``; several lines are one caption).
    A text file beside images that belongs to none of them is left out and named, as are images of formats that are not read; other
    files are told by their ending. ``split`` and ``holdout`` are explained at ``splits.select``.
    """

    def __init__(self, *, data_root: str | Path, split: str = "train", holdout: Holdout = 0.02):
        root, unread, lone, skipped = existing(data_root), Unread(), list[str](), Skipped()
        if not root.is_dir():
            raise ValueError(f"data_root={str(data_root)!r} is not a folder; ImageFolder needs one")
        pairs = sorted(_pairs(root, unread, lone, skipped))
        if not pairs:
            told = f"{skipped}; " if skipped.count else ""
            raise ValueError(f"data_root={str(data_root)!r} holds no images ({', '.join(IMAGE_SUFFIXES)}): {told}{unread.found()}")
        self._images = Strings(image for image, _ in pairs)
        self._texts = Strings(text for _, text in pairs)
        captioned = sum(bool(text) for _, text in pairs)
        for text in sorted(lone):
            named = text[:-4].lower().endswith(IMAGE_SUFFIXES)
            remedy = (
                f"name it without the image's ending ({os.path.splitext(text[:-4])[0]}.txt)"
                if named
                else "restore the image or remove the text"
            )
            skipped.add(f"{text} has no image; {remedy}")
        unread.report(skipped)
        super().__init__(data_root=root, keys=self._images, captioned=captioned, skipped=skipped, split=split, holdout=holdout)

    def record(self, row: int) -> Record:
        """Read an image file and its text file."""
        name, text = self._images[row], self._texts[row]
        image = read(self.data_root / name, name=name)
        if not text:
            return Record(id=name, image=image)
        try:
            caption, why = decode_caption(read(self.data_root / text, name=text, max_bytes=MAX_TEXT), text)
        except BadSample as error:
            caption, why = "", str(error)
        return Record(id=name, image=image, captions={UNNAMED: clean(caption)}, unread={UNNAMED: why} if why else {})

    def name_of(self, row: int) -> str:
        """The path."""
        return self._images[row]

    def image_at(self, row: int) -> tuple[Path, int, int]:
        """The whole of an image file."""
        return self.data_root / self._images[row], 0, -1


def _pairs(root: Path, unread: Unread, lone: list[str], skipped: Skipped) -> Iterator[tuple[str, str]]:
    """Yield (image, its text file or nothing) as paths relative to the root; what is not read goes to ``unread``,
    folders that cannot be read to ``skipped``.

    ``lone`` collects text files without an image; those of a folder without any image are no captions, but labels for instance.
    """
    seen = set()

    def closed(error: OSError) -> None:
        inner = Path(error.filename).relative_to(root).as_posix()
        skipped.add(f"{inner}/ cannot be read ({error.strerror}), what it holds is unknown; check its permissions", of="folders")

    for folder, folders, names in os.walk(root, followlinks=True, onerror=closed):
        seen.add(os.path.realpath(folder))
        folders[:] = [name for name in folders if name[0] != "." and os.path.realpath(os.path.join(folder, name)) not in seen]
        split = [os.path.splitext(name) for name in sorted(names) if name[0] != "."]
        texts = {stem: stem + ending for stem, ending in split if ending.lower() == ".txt"}
        prefix = "" if (inner := Path(folder).relative_to(root).as_posix()) == "." else f"{inner}/"
        stems = set[str]()
        for stem, ending in split:
            if ending.lower() in IMAGE_SUFFIXES:
                stems.add(stem)
                yield prefix + stem + ending, prefix + texts[stem] if stem in texts else ""
            elif ending.lower() != ".txt" and unread.meet(
                prefix + stem + ending, ending.lower(), partial(head, os.path.join(folder, stem + ending))
            ):
                stems.add(stem)
        for stem in sorted(texts.keys() - stems):
            if stems:
                lone.append(prefix + texts[stem])
            else:
                unread.add("file", ".txt", prefix + texts[stem])
