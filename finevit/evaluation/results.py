"""The evaluations of a run as ``results.json``: numbers never travel without their protocol and the data they were taken on."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

NAME = "results.json"


class Results:
    """The evaluations of one run, ordered by iteration, mirrored in ``results.json`` of its work dir.

    The file holds ``data`` (description and number of images), ``protocols`` (by metric class) and ``evaluations``: one dict each,
    ``iteration`` and the metrics. Iteration 0 is the model before its first step. Further sets that a checkpoint was tested on are
    ``benchmarks``, by name: ``checkpoint``, ``iteration``, ``data``, ``protocols`` and ``metrics`` of each.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / NAME
        self.data, self.images = "", 0
        self.protocols: dict[str, str] = {}
        self.evaluations: list[dict[str, float]] = []
        self.benchmarks: dict[str, dict] = {}

    def resume(self, iteration: float) -> None:
        """Takes over what the file says up to an iteration; what a lost part of the run had added is forgotten."""
        if self.path.exists():
            content = json.loads(self.path.read_text())
            self.data, self.images = content["data"]["description"], content["data"]["images"]
            self.protocols = content["protocols"]
            self.evaluations = [entry for entry in content["evaluations"] if entry["iteration"] <= iteration]
            tested = content.get("benchmarks", {})
            self.benchmarks = {name: entry for name, entry in tested.items() if entry["iteration"] <= iteration}

    def add(self, iteration: int, metrics: Mapping[str, float], *, protocols: Mapping[str, str], data: str, images: int) -> None:
        """Records an evaluation, in place of an earlier one of that iteration, and writes the file (whole or not at all)."""
        kept = [entry for entry in self.evaluations if entry["iteration"] != iteration]
        self.evaluations = sorted([*kept, {"iteration": iteration, **metrics}], key=lambda entry: entry["iteration"])
        self.protocols, self.data, self.images = dict(protocols), data, images
        self._write()

    def add_benchmark(
        self,
        name: str,
        *,
        checkpoint: str,
        iteration: int,
        data: str,
        images: int,
        protocols: Mapping[str, str],
        metrics: Mapping[str, float],
    ) -> None:
        """Records a test on another set, in place of an earlier one of that name, and writes the file."""
        self.benchmarks[name] = {
            "checkpoint": checkpoint,
            "iteration": iteration,
            "data": {"description": data, "images": images},
            "protocols": dict(protocols),
            "metrics": dict(metrics),
        }
        self._write()

    def _write(self) -> None:
        content: dict[str, object] = {
            "data": {"description": self.data, "images": self.images},
            "protocols": self.protocols,
            "evaluations": self.evaluations,
        }
        if self.benchmarks:
            content["benchmarks"] = self.benchmarks
        draft = self.path.with_suffix(".json.part")
        draft.write_text(json.dumps(content, indent=2) + "\n")
        os.replace(draft, self.path)

    def at(self, iteration: int) -> dict[str, float]:
        """The metrics of an iteration; empty where there was no evaluation."""
        return next((entry for entry in self.evaluations if entry["iteration"] == iteration), {})

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Iterations and values of one metric."""
        points = [(int(entry["iteration"]), entry[key]) for entry in self.evaluations if key in entry]
        return [step for step, _ in points], [value for _, value in points]
