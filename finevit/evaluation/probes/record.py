"""What probes reached, in ``results.json`` beside a run's other evaluations: numbers with protocol, data, seed and setting."""

from collections.abc import Mapping
from pathlib import Path

from finevit.evaluation.probes.choice import HELD_OUT
from finevit.evaluation.probes.features import precision
from finevit.evaluation.probes.run import PROTOCOLS, Evaluated
from finevit.evaluation.results import Results


class ProbeResults(Results):
    """Entries of ``benchmarks`` called ``probe/linear`` and so on; besides what all have: ``probe``, a dict with ``train_images``,
    ``test_images``, ``pixels``, ``precision``, ``seed``, ``held_out``, the ``chosen`` setting (with ``grid_edge`` where it lies at
    the edge of its grid), and what each that was ``tried`` reached there."""

    def add_probes(
        self, found: Evaluated, untrained: Evaluated | None, *, checkpoint: str | Path, iteration: int, seed: int, pixels: int
    ) -> list[str]:
        """Records each probe and writes the file; returns the entries' names."""
        about = (
            f"learned from {len(found.train):,} images of {found.data.train.describe()}; "
            f"tested on {len(found.test):,} of {found.data.test.describe()}{found.lacking}"
        )
        entries: dict[str, dict] = {}
        for probe, outcome in found.outcomes.items():
            before = {f"untrained_{key}": value for key, value in _metrics(untrained, probe).items()}
            entries[f"probe/{probe}"] = {
                "iteration": iteration,
                "data": {"description": about, "images": len(found.test)},
                "protocols": {probe: PROTOCOLS[probe]},
                "metrics": {**outcome.metrics, **before},
                "probe": {
                    "train_images": len(found.train),
                    "test_images": len(found.test),
                    "pixels": pixels,
                    "precision": precision(),
                    "seed": seed,
                    "held_out": HELD_OUT,
                    "chosen": outcome.chosen,
                    "tried": outcome.tried,
                },
            }
        self._add(entries, checkpoint)
        return list(entries)


def _metrics(found: Evaluated | None, probe: str) -> Mapping[str, float]:
    """What the untrained encoder reached; numbers of regions are the same for both."""
    reached = found.outcomes[probe].metrics if found else {}
    return {key: value for key, value in reached.items() if key not in ("queries", "train_regions", "test_regions")}
