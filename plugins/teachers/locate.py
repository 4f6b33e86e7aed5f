"""Decide whether a setting names a local folder or a model of the hub, before anything heavy is imported."""

import os
from pathlib import Path

from finevit.suggest import did_you_mean


def local_folder(model: str) -> Path | None:
    """The folder that ``model`` names, checked; ``None`` for a hub name.

    What looks like a path (absolute, ``./``, ``~``, more than one slash) or exists is a folder; ``owner/name`` is a hub
    name. Raises ``ValueError`` for a folder that does not exist, or holds no ``config.json``.
    """
    looks_like_path = model.startswith((os.sep, ".", "~")) or model.count("/") > 1
    if not (looks_like_path or Path(model).exists()):
        return None
    folder = Path(model).expanduser().absolute()
    if not folder.is_dir():
        raise ValueError(f"model={model!r}: {_what_is_missing(folder)}")
    if not (folder / "config.json").is_file():
        raise ValueError(f"model={model!r}: this folder holds no config.json, so it is not a saved model")
    return folder


def _what_is_missing(folder: Path) -> str:
    """The first part of the path that does not exist, and the folder beside it that is nearest in spelling."""
    missing = next(path for path in (*reversed(folder.parents), folder) if not path.is_dir())
    beside = [path.name for path in missing.parent.iterdir() if path.is_dir()]
    return f"the folder {str(missing)!r} does not exist{did_you_mean(missing.name, beside)}"
