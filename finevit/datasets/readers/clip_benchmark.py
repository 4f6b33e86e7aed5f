"""The WebDataset layout of CLIP_benchmark: classification and retrieval sets as tars, with their class names and prompts."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from finevit.contracts import BadSample, Record
from finevit.registry import BENCHMARKS, DATASETS
from finevit.storage.regular import read_regular

from .encodings import decode_text, text_lines
from .files import MAX_ENTRY, FileSource, Skipped, clean, existing, not_read
from .fixed import folder, listed
from .splits import Strings
from .tar_files import Place, read_place
from .tar_index import PARTS, load_indices

CLIP_BENCHMARK_TASKS = ("classification", "retrieval")


@BENCHMARKS.register_module(name="clip-benchmark")
@DATASETS.register_module()
class ClipBenchmarkTars(FileSource):
    """A data set as CLIP_benchmark exports it: ``test/nshards.txt``, ``test/0.tar``, ... and text files beside the split's folder.

    ``dataset_type.txt`` says the ``task`` (``retrieval``; ``classification`` where it is absent). Classification: the ``.cls`` of
    an image is ``facts["label"]``; ``classes`` and ``templates`` (with ``{c}`` for the class) are the set's own. Retrieval: each
    line of a ``.txt`` is a caption.

    Args:
        data_root: the folder that holds the splits' folders.
        split: which of them.
    """

    task = ""  # of each set its own

    def __init__(self, *, data_root: str | Path, split: str = "test") -> None:
        root = existing(data_root)
        self.task = "".join(_lines(root / "dataset_type.txt")).lower() or "classification"
        if self.task not in CLIP_BENCHMARK_TASKS:
            raise ValueError(
                f"{root / 'dataset_type.txt'} says {self.task!r}; FineViT evaluates {' and '.join(CLIP_BENCHMARK_TASKS)}"
            )
        self.classes = tuple(_lines(root / "classnames.txt"))
        self.templates = tuple(filter(None, _lines(root / "zeroshot_classification_templates.txt")))
        if self.task == "classification" and not self.classes:
            raise ValueError(
                f"data_root={str(data_root)!r} holds no classnames.txt, which classification needs (where it is for retrieval, "
                f"dataset_type.txt says so); it holds {listed(root)}"
            )
        self._files, skipped = _shards(folder(root, split)), Skipped()
        indices = load_indices(self._files, skipped)
        self._ids = Strings(f"{path.stem}/{key}" for path, index in zip(self._files, indices, strict=True) for key in index.keys)
        self._shards = np.repeat(np.arange(len(indices)), [len(index.keys) for index in indices])
        self._spans = np.concatenate([index.spans for index in indices])
        if not len(self._ids):
            raise ValueError(
                f"data_root={str(data_root)!r}: the tars of split {split!r} hold no images: {skipped.said() or 'empty'}"
            )
        super().__init__(data_root=root, keys=self._ids, captioned=0, skipped=skipped, split="all", holdout=0.0)
        self._about = f"CLIP_benchmark, split {split!r}, {self._kind()}; {len(self._ids):,} images in {len(self._files):,} tars"
        self._about += (f"; INCOMPLETE: {skipped}" if skipped.count else "") + not_read(skipped)

    def record(self, row: int) -> Record:
        """Read an image and its label or captions."""
        path, name = self._files[self._shards[row]], self._ids[row]
        parts = {
            part: read_place(path, Place(*place), name=name)
            for part, place in zip(PARTS, self._spans[row].tolist(), strict=True)
            if any(place)
        }
        if self.task == "classification":
            return Record(id=name, image=parts["image"], facts={"label": self._label(name, parts.get("cls", b""))})
        try:
            texts = [clean(line) for line in text_lines(decode_text(parts.get("txt", b"")))]
        except ValueError as error:
            raise BadSample(f"{name}.txt is {error}") from None
        captions = {f"caption-{place}": text for place, text in enumerate(filter(None, texts), start=1)}
        if not captions:
            raise BadSample(f"{name}: has no caption in a .txt")
        return Record(id=name, image=parts["image"], captions=captions)

    def _label(self, name: str, data: bytes) -> int:
        try:
            label = int(decode_text(data))
        except ValueError:
            raise BadSample(f"{name}: has no label in a .cls") from None
        if not 0 <= label < len(self.classes):
            raise BadSample(f"{name}: label {label} is not one of the {len(self.classes):,} classes of classnames.txt")
        return label

    def _kind(self) -> str:
        if self.task == "retrieval":
            return "retrieval"
        return f"classification of {len(self.classes):,} classes, {len(self.templates):,} prompts of its own"


def _shards(split: Path) -> list[Path]:
    """The tars of a split, as many as ``nshards.txt`` says."""
    count = "".join(_lines(split / "nshards.txt"))
    if not re.fullmatch("[0-9]{1,6}", count) or not int(count):
        raise ValueError(f"{split / 'nshards.txt'} must hold the number of tars; {split.name}/ holds {listed(split)}")
    paths = [split / f"{number}.tar" for number in range(int(count))]
    if absent := [path.name for path in paths if not path.is_file()]:
        raise ValueError(f"{split} lacks {_some(absent)} of the {count} tars that nshards.txt tells of; fetch them")
    return paths


def _lines(path: Path) -> list[str]:
    """The lines of a text file, without empty ones at its end; none where it is absent."""
    if not path.is_file():
        return []
    try:
        return [line.strip() for line in text_lines(decode_text(read_regular(path, max_bytes=MAX_ENTRY)).rstrip())]
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from None


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
