"""What the pages of all stages tell of the run itself: what it changes of its config, plan and outcome, and what was left out."""

from collections.abc import Sequence
from typing import NamedTuple

from finevit.visualization.report import Section, fragment

MOST = 60
"""So many changes and so many samples are listed."""
WIDE = 160
"""Characters of a value."""


class Changes(NamedTuple):
    """Settings with their values before and after: what the command line changed, and what the config file changes of its bases."""

    options: Sequence[tuple[str, str, str]]
    file: Sequence[tuple[str, str, str]]


class LeftOut(NamedTuple):
    """Reasons with their counts, and the messages about samples that could not be used."""

    reasons: Sequence[tuple[str, int]]
    messages: Sequence[str]


def sections(changes: Changes, planned: Sequence[Sequence[str]], left_out: LeftOut) -> list[Section]:
    """The tables about a run; only of what there is."""
    skipped = sum(count for _, count in left_out.reasons)
    found = [Section("Plan against what happened", table([*planned, ["skipped samples", "0", f"{skipped:,}"]]))]
    if left_out.reasons:
        rows = [["why", "samples"], *([why, f"{count:,}"] for why, count in left_out.reasons)]
        listed = [["sample"], *([message] for message in left_out.messages)]
        found.append(Section("Skipped samples", table(rows) + table(listed, folded="The samples by name")))
    if changes.options or changes.file:
        found.append(
            Section("What the config changes", _changed(changes), "Against the config file, and of this against its bases.")
        )
    return found


def table(rows: Sequence[Sequence[str]], *, folded: str = "") -> str:
    """A table of texts with a header; ``folded`` behind this line."""
    short = [[cell if len(cell) <= WIDE else f"{cell[:WIDE]} …" for cell in row] for row in rows[: MOST + 1]]
    return fragment("rows.html", rows=short, more=max(0, len(rows) - len(short)), folded=folded)


def _changed(changes: Changes) -> str:
    options = table([["changed by the command line", "config file", "this run"], *changes.options]) if changes.options else ""
    title = f"What the config file changes of its bases ({len(changes.file)} settings)"
    return options + (
        table([["changed by the config file", "bases", "config file"], *changes.file], folded=title) if changes.file else ""
    )
