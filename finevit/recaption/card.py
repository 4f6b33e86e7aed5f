"""The card of a dataset (``README.md``, as the hub reads it): what it is, how it was made, what is wrong with it, how to load it.

It depends on the tables and the config alone: no time, no folder of a machine, no address and no key stands in it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from finevit import __version__
from finevit.recaption.contracts import RETRIABLE
from finevit.recaption.described import about_pass, is_stand_in, named, prompts, source_of
from finevit.recaption.statistics import Numbers, beside_paper
from finevit.recaption.view import MEANING, View, rejects
from finevit.shards.manifest import PIXELS, Manifest, load
from finevit.storage.durable import write_file

NAME = "README.md"
LISTED = 100
"""With at most so many shards, the head names their files for the hub's viewer."""
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}


def write_card(view: View, config_hash: str) -> Path:
    """Writes the card of the dataset that a run made."""
    path = view.shop.dataset / NAME
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string(Path(__file__).with_name("card.txt").read_text(encoding="utf-8"))
    data = template.render(_facts(view, config_hash)).encode("utf-8", "backslashreplace")
    write_file(path, lambda file: file.write(data))
    return path


def _facts(view: View, config_hash: str) -> dict[str, Any]:
    settings, passes, numbers = view.shop.settings, view.shop.passes, view.numbers()
    manifest, models, images = load(view.shop.dataset), view.shop.models(view.shards), numbers.get("images", {})
    total = images.get("kept", 0) + images.get("rejected", 0)
    licence = settings.get("license")
    return {
        "licence": licence or "unknown",
        "licence_told": licence or "not stated; that of the source holds",
        "size": next((name for most, name in _SIZES.items() if total < most), "n>10M"),
        "configs": _configs(manifest),
        "version": __version__,
        "stand_ins": sorted({model for found in models.values() for model in found if is_stand_in(model)}),
        "again": sum(state.counts[status] for state in view.passes for status in RETRIABLE),
        "beside": beside_paper(numbers)[1:],
        "source": source_of(settings),
        "total": f"{total:,}",
        "kept": f"{images.get('kept', 0):,}",
        "documents": f"{images.get('document', 0):,}",
        "models": {name: list(map(named, found)) for name, found in models.items()},
        "prompts": prompts(passes),
        "config_hash": config_hash,
        "settings": {name: ", ".join(f"{key} {value}" for key, value in about_pass(own).items()) for name, own in passes.items()},
        "counts": [(name, status, f"{count:,}") for name, told in manifest.counts.items() for status, count in told.items()],
        "rejects": rejects(view.passes),
        "faults": list(_faults(view, numbers)),
    }


def _configs(manifest: Manifest) -> dict[str, list[str]]:
    """Files by table; the hub would otherwise mix tables, and those of manifests before."""
    if len(manifest.shards) > LISTED:
        return {}
    names = {name for shard in manifest.shards for name in shard.files if name != PIXELS}
    return {name: [shard.files[name].path for shard in manifest.shards if name in shard.files] for name in sorted(names)}


def _faults(view: View, numbers: Numbers) -> Iterator[str]:
    counts = {state.name: state.counts for state in view.passes}
    if check := counts.get("region_check"):
        asked = check["confirmed"] + check["unconfirmed"]
        share = f" ({100 * check['unconfirmed'] / asked:.1f} %)" if asked else ""
        lost = f"{check['unconfirmed']:,}{share}"
        yield f"region check: of {asked:,} captions of regions, {lost} were not found again by the grounder"
    if "ocr" in counts:
        quotes = {"captions": 0, "unread": 0, **numbers.get("quotes", {})}
        share = f" ({100 * quotes['unread'] / quotes['captions']:.1f} %)" if quotes["captions"] else ""
        told = f"of {quotes['captions']:,} captions that quote text, {quotes['unread']:,}{share} quote what OCR did not read"
        yield f"{told}: either may be wrong"
    for failure in view.failures():
        yield f"{failure.name}: {failure.count:,} rows without an answer, {failure.status} ({MEANING[failure.status]})"
    yield "captions and boxes are a model's: they name things that are not there, and leave out some that are"
