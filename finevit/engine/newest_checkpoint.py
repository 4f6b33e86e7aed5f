"""The newest whole checkpoint of a work dir, whatever the note of it says."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finevit.engine.checkpoints import check_resumable
from finevit.engine.hooks.checkpoint_hook import NOTE, folders_of

TEMPLATES = ("iter_{}.pth", "epoch_{}.pth")
"""How MMEngine names checkpoints, unless ``CheckpointHook.filename_tmpl`` says otherwise."""
PLACE = r"\{[^}]*\}"
"""Where the number stands in a template, such as {} or {:06d}."""
LONG = 4096
"""No path has more bytes."""


def newest(work_dir: str, hooks: Iterable[Mapping[str, Any]] = ()) -> tuple[str | None, list[str]]:
    """The whole checkpoint of most iterations that a run in ``work_dir`` left, and what is wrong with those after it, for people.

    ``hooks`` are their configs, of which one may say where checkpoints go and how they are named. Where there is none in these
    places, the note of the newest counts; it does too for remote ones. None where there is no checkpoint; ``ValueError`` where
    there are some, and none of them is whole.
    """
    faults: list[str] = []
    own, noted = series(work_dir, hooks), _noted(work_dir)
    known = {path for paths in own for path in paths}
    named_otherwise = os.path.dirname(noted) == work_dir and noted not in known
    groups = [*own, *([[noted]] if os.path.isfile(noted) and (named_otherwise or not own) else [])]
    found = [whole for paths in groups if (whole := _first_whole(paths, faults))]
    if found:
        return max(found)[1], faults
    if faults:
        told = "\n  ".join(faults)
        raise ValueError(
            f"--resume: {work_dir!r} holds checkpoints, but none that a run could go on from:\n  {told}\nrestore one of them, name "
            "one with --resume FILE, or start anew without --resume, which moves them aside"
        )
    return (noted if "://" in noted else None), []


def series(work_dir: str, hooks: Iterable[Mapping[str, Any]] = ()) -> list[list[str]]:
    """The checkpoints in the places of a run, by place and kind of name, each from the last to the first."""
    hooks = list(hooks)
    folders = dict.fromkeys([Path(work_dir), *folders_of(work_dir, (hook.get("out_dir") for hook in hooks))])
    templates = dict.fromkeys([*(tmpl for hook in hooks if (tmpl := hook.get("filename_tmpl"))), *TEMPLATES])
    numbered = [dict(numbered_files(folder, template)) for folder in folders for template in templates]
    return [[str(files[number]) for number in sorted(files, reverse=True)] for files in numbered if files]


def hooks_of(cfg: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The configs of a run's hooks."""
    hooks = [*(cfg.get("default_hooks") or {}).values(), *(cfg.get("custom_hooks") or ())]
    return [hook for hook in hooks if isinstance(hook, Mapping)]


def places(cfg: Mapping[str, Any]) -> list[Path]:
    """The folders of a run's checkpoints, its work dir first."""
    return [Path(cfg["work_dir"]), *folders_of(cfg["work_dir"], (hook.get("out_dir") for hook in hooks_of(cfg)))]


def numbered_files(folder: Path, template: str) -> Iterator[tuple[int, Path]]:
    """The files of a folder that a template with one ``{}`` names, and their numbers."""
    before, after = re.split(PLACE, f"{template}{{}}", maxsplit=1)
    after = after.removesuffix("{}")
    name = re.compile(re.escape(os.path.basename(before)) + r"(\d+)" + re.escape(after))
    for path in (folder / f"{before}0").parent.glob("*"):
        if (found := name.fullmatch(path.name)) and os.path.isfile(path):
            yield int(found[1]), path


def _noted(work_dir: str) -> str:
    """What the note names: the file of this name in the work dir, which may have been moved, or else wherever it is."""
    note = Path(work_dir) / NOTE
    if not note.is_file():
        return ""
    with note.open("rb") as file:
        written = file.read(LONG).decode(errors="replace").strip()
    beside = os.path.join(work_dir, os.path.basename(written))
    return beside if os.path.isfile(beside) else written


def _first_whole(paths: Iterable[str], faults: list[str]) -> tuple[int, str] | None:
    """Iteration and path of the first whole one; what is wrong with those before it is added to ``faults``."""
    for path in paths:
        try:
            return check_resumable(path, remedy="an older one is looked for"), path
        except ValueError as error:
            faults.append(str(error))
    return None
