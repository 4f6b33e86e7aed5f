"""The evaluations of a run as ``results.json``: numbers never travel without their protocol and the data they were taken on."""

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from finevit.hub.locate import first_line
from finevit.storage.durable import alone_in, write_file
from finevit.storage.places import writing
from finevit.storage.regular import check_regular

NAME = "results.json"
SHOWN = 8
"""So many names are told."""


class Results:
    """The evaluations of one run, ordered by iteration, mirrored in ``results.json`` of its work dir.

    The file holds ``data`` (description and number of images), ``protocols`` (by metric class) and ``evaluations``: one dict each,
    ``iteration`` and the metrics. Iteration 0 is the model before its first step. Further sets that a checkpoint was tested on are
    ``benchmarks``, by name: ``checkpoint``, ``path`` (from this folder), ``iteration``, ``data``, ``protocols`` and ``metrics``.
    An entry replaces that of the same checkpoint on the same data; another of its name stays, as ``NAME#1`` and so on.

    A run and tests of its checkpoints share the file while both go on: each takes over what the other has written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / NAME
        self.data, self.images = "", 0
        self.protocols: dict[str, str] = {}
        self.evaluations: list[dict[str, float]] = []
        self.benchmarks: dict[str, dict] = {}
        self._shared = False
        self._told: set[str] = set()

    def resume(self, iteration: float) -> None:
        """Takes over what the file says up to an iteration; what a lost part of the run had added is forgotten, there too."""
        if not self.path.exists():
            return
        content = self._read()
        if content is None:
            return
        self.data, self.images = content["data"]["description"], content["data"]["images"]
        self.protocols = content["protocols"]
        self.evaluations = [entry for entry in content["evaluations"] if entry["iteration"] <= iteration]
        tested = content.get("benchmarks", {})
        self.benchmarks = {name: entry for name, entry in tested.items() if entry["iteration"] <= iteration}
        if len(self.evaluations) < len(content["evaluations"]) or len(self.benchmarks) < len(tested):
            self._write()
        self._shared = True

    def _read(self) -> dict | None:
        """What the file says; one that says nothing of use is moved aside, and that is said."""
        try:
            return read_results(self.path)
        except Broken as error:
            aside = next(path for n in count() if not (path := self.path.with_name(f"{NAME}.broken{n or ''}")).exists())
            os.replace(self.path, aside)
            told = f"{error}; it is kept as {aside.name}, and what is evaluated from now on goes into a new one"
            print_log(told, logger="current", level=logging.WARNING)
            return None

    def add(self, iteration: int, metrics: Mapping[str, float], *, protocols: Mapping[str, str], data: str, images: int) -> None:
        """Records an evaluation, in place of an earlier one of that iteration, and writes the file (whole or not at all)."""
        kept = [entry for entry in self.evaluations if entry["iteration"] != iteration]
        self.evaluations = sorted([*kept, {"iteration": iteration, **metrics}], key=lambda entry: entry["iteration"])
        self.protocols, self.data, self.images = dict(protocols), data, images
        with alone_in(self.path.parent):
            if self._shared and self.path.exists():
                self.benchmarks = (self._read() or {}).get("benchmarks", {})
            self._write()

    def add_benchmark(
        self,
        name: str,
        *,
        checkpoint: str | Path,
        iteration: int,
        data: str,
        images: int,
        protocols: Mapping[str, str],
        metrics: Mapping[str, float],
    ) -> None:
        """Records a test on another set, and writes the file."""
        entry = {
            "iteration": iteration,
            "data": {"description": data, "images": images},
            "protocols": dict(protocols),
            "metrics": dict(metrics),
        }
        self._add({name: entry}, checkpoint)

    def _add(self, entries: Mapping[str, dict], checkpoint: str | Path) -> None:
        """Takes over what others have written meanwhile, puts entries under their names, and writes the file."""
        with alone_in(self.path.parent):
            self.resume(math.inf)
            for name, entry in entries.items():
                self._place(name, checkpoint, entry)
            self._write()

    def _place(self, name: str, checkpoint: str | Path, entry: dict) -> None:
        """Puts an entry under its name; one of another checkpoint, or of other data, makes room, and that is said."""
        entry = {"checkpoint": Path(checkpoint).name, "path": os.path.relpath(checkpoint, self.path.parent), **entry}
        alike = [key for key in self.benchmarks if key == name or key.startswith(f"{name}#")]
        for key in [key for key in alike if _subject(self.benchmarks[key]) == _subject(entry)]:
            del self.benchmarks[key]
        if older := self.benchmarks.pop(name, None):
            free = next(other for n in count(1) if (other := f"{name}#{n}") not in self.benchmarks)
            self.benchmarks[free] = older
            whose = f"{older['checkpoint']}, iteration {older['iteration']}, on {older['data']['description']}"
            print_log(f"{self.path}: {name!r} was of {whose}; it is kept as {free!r}", logger="current", level=logging.WARNING)
        self.benchmarks[name] = entry

    def _write(self) -> None:
        content: dict[str, object] = {
            "data": {"description": self.data, "images": self.images},
            "protocols": self.protocols,
            "evaluations": self.evaluations,
        }
        if self.benchmarks:
            content["benchmarks"] = self.benchmarks
        text = json.dumps(_strict(content), indent=2, allow_nan=False) + "\n"
        with writing(self.path, "give another with --work-dir; the checkpoints are whole"):
            write_file(self.path, lambda file: file.write(text.encode()), shared=True)
        self._shared = True
        self._say_odd(content)

    def _say_odd(self, content: object) -> None:
        """Once for each: which numbers are not finite; JSON has none, so the file has null in their places."""
        odd = [path for path in _odd(content, "") if path not in self._told]
        self._told.update(odd)
        if odd:
            told = f"{self.path}: {', '.join(odd[:SHOWN])}{' ...' if len(odd) > SHOWN else ''} not finite, written as null"
            print_log(told, logger="current", level=logging.WARNING)

    def at(self, iteration: int) -> dict[str, float]:
        """The metrics of an iteration; empty where there was no evaluation."""
        return next((entry for entry in self.evaluations if entry["iteration"] == iteration), {})

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Iterations and values of one metric."""
        points = [(int(entry["iteration"]), entry[key]) for entry in self.evaluations if key in entry]
        return [step for step, _ in points], [value for _, value in points]


class Broken(ValueError):
    """A file that holds no evaluations."""


def read_results(path: Path) -> dict:
    """The content of a file of evaluations, NaN where a metric is null; ``Broken`` where it is none."""
    try:
        check_regular(path)
        content = json.loads(path.read_text(encoding="utf-8"))
        _check(content)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); move it away, or give another --work-dir") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Broken(f"{path} is no file of FineViT's evaluations ({type(error).__name__}: {first_line(error)})") from error
    content["evaluations"] = [_with_nan(entry) for entry in content["evaluations"]]
    for entry in content.get("benchmarks", {}).values():
        entry["metrics"] = _with_nan(entry["metrics"])
    return content


def _check(content: Any) -> None:
    """Raises what comes where a part is missing or of another type."""
    tests = content.get("benchmarks", {})
    for entry in content["evaluations"]:
        entry["iteration"] + 0, entry.items()
    content["data"]["description"] + "", content["data"]["images"] + 0, content["protocols"].items()
    for entry in tests.values():
        (
            entry["iteration"] + 0,
            entry["checkpoint"] + "",
            entry["metrics"].items(),
            entry["data"].items(),
            entry["protocols"].items(),
        )


def _with_nan(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in metrics.items()}


def _strict(value: Any) -> Any:
    """The value, with null for what JSON has not: numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _odd(value: Any, path: str) -> Iterator[str]:
    """Where numbers are not finite."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, each in pairs:
        yield from _odd(each, f"{path}.{key}" if path else str(key))
    if isinstance(value, float) and not math.isfinite(value):
        yield path


def _subject(entry: Mapping) -> tuple:
    """What was tested, and on what; entries of earlier versions name a file beside them."""
    probe = entry.get("probe", {})
    return entry.get("path", entry["checkpoint"]), entry["iteration"], entry["data"], probe.get("seed"), probe.get("pixels")
