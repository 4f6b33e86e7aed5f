"""The manifest of a dataset: which files make it up, with their SHA-256. It is never changed: another state is another manifest.

``manifest.json`` is the newest. Every one is kept as ``manifests/HASH.json``; ``parent`` is the SHA-256 of the one before.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from finevit.storage.durable import write_file

from .files import FileEntry, check_version
from .schema import NAME, TABLES, VERSION

__all__ = ["FileEntry", "Manifest", "Shard", "digest", "load", "save"]

FILE = "manifest.json"
KEPT = "manifests"
PIXELS = "pixels"
"""The name under which a shard lists its tar."""


@dataclass(frozen=True)
class Shard:
    """One tar with the tables beside it: ``files`` by ``pixels`` and the names of ``TABLES``; ``rows`` of its images' table."""

    name: str
    rows: int
    files: Mapping[str, FileEntry]


@dataclass(frozen=True)
class Manifest:
    """A state of the dataset. ``counts`` are rows by status of each table (``{"captions": {"ok": 12}}``), ``classes`` the names of
    the class ids in their order, ``facts`` what else is known as plain JSON, such as where it came from. No time stands in it."""

    shards: tuple[Shard, ...]
    parent: str = ""
    config_hash: str = ""
    code_version: str = ""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    schema: str = NAME
    version: str = VERSION


def encoded(manifest: Manifest) -> bytes:
    """The bytes of its file."""
    return (json.dumps(asdict(manifest), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def digest(manifest: Manifest) -> str:
    """The SHA-256 of its file."""
    return hashlib.sha256(encoded(manifest)).hexdigest()


def save(folder: str | Path, manifest: Manifest) -> str:
    """Makes ``manifest`` the newest of a dataset, whose files are there already: its SHA-256."""
    data, found = encoded(manifest), digest(manifest)
    for path in (Path(folder) / KEPT / f"{found[:12]}.json", Path(folder) / FILE):
        write_file(path, lambda file: file.write(data))
    return found


def load(folder: str | Path) -> Manifest:
    """The newest manifest of a dataset, or that of a file; ``ValueError`` where there is none, or it cannot be used."""
    path = Path(folder) / FILE if Path(folder).is_dir() else Path(folder)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); a dataset of shards has a {FILE}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); restore it from {KEPT}/") from None
    if not isinstance(told, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(told).__name__}")
    check_version(path, told)
    try:
        return _manifest(told)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} lacks or misspells what a manifest says ({error}); restore it from {KEPT}/") from None


def folder_of(path: str | Path) -> Path:
    """The dataset's folder, of that itself or of one of its manifests."""
    path = Path(path)
    return path if path.is_dir() else path.parent.parent if path.parent.name == KEPT else path.parent


def is_dataset(path: str | Path) -> bool:
    """Whether a path is a folder with a manifest, or a manifest: one that is no JSON counts, another program's does not."""
    path = Path(path) / FILE if Path(path).is_dir() else Path(path)
    if not path.is_file() or not (path.name == FILE or (path.suffix == ".json" and path.parent.name == KEPT)):
        return False
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(told, dict) and told.get("schema") == NAME


def _manifest(told: Mapping[str, Any]) -> Manifest:
    """What a newer minor version says besides is left out."""
    known = {item.name for item in fields(Manifest)} - {"shards", "classes"}
    shards = tuple(_shard(shard) for shard in told["shards"])
    return Manifest(shards=shards, classes=tuple(told.get("classes", ())), **{key: told[key] for key in known & set(told)})


def _shard(told: Mapping[str, Any]) -> Shard:
    files = {kind: FileEntry(**entry) for kind, entry in told["files"].items() if kind in (PIXELS, *TABLES)}
    if odd := next((entry.path for entry in files.values() if Path(entry.path).name != entry.path), ""):
        raise TypeError(f"shard {told['name']!r}: {odd!r} is no name of a file in the dataset's folder")
    return Shard(name=told["name"], rows=told["rows"], files=files)
