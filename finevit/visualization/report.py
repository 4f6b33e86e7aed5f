"""A run's report: one HTML file that needs nothing else, neither a network nor files beside it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from finevit.evaluation.results import Results
from finevit.packing.packs import PackedImages
from finevit.storage.durable import write_file

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Figure:
    """A headline figure: ``value`` in large type, ``label`` above and ``note`` below it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart: an ``<svg>`` element (trusted, as our own plots make it) under a title."""

    title: str
    svg: str


@dataclass(frozen=True)
class Section:
    """What only some pages have, such as pictures: ``html`` (trusted, as :func:`fragment` makes it) under a title and a note."""

    title: str
    html: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """Everything the report shows. Text is escaped; ``about`` (the head) and ``facts`` are pairs of a name and a value, ``run`` are
    the sections about the run itself."""

    title: str
    subtitle: str = ""
    about: Sequence[tuple[str, str]] = ()
    figures: Sequence[Figure] = ()
    sections: Sequence[Section] = ()
    charts: Sequence[Chart] = ()
    facts: Sequence[tuple[str, str]] = ()
    run: Sequence[Section] = ()
    config: str = ""
    footnotes: Sequence[str] = ()


@dataclass(frozen=True)
class Run:
    """What a page is made of: a run of ``steps`` batches of ``batch`` images; ``scalars`` are the training's logged values, one a
    step, ``before`` and ``after`` what the untrained and the trained model made of the validation's images."""

    scalars: Mapping[str, Sequence[float]]
    results: Results
    steps: int
    batch: int
    parameters: int
    facts: Sequence[tuple[str, str]]
    before: Sequence[Any]
    after: Sequence[Any]
    config: str


class ReportPage(ABC):
    """The page of a stage, registered in ``REPORT_PAGES`` under the name of the stage's class, whose subclasses have it too."""

    reads: ClassVar[frozenset[str]]
    """Which predictions of the validation it needs."""
    view: ClassVar[type]
    """A NamedTuple: an image with what the model made of it."""

    @abstractmethod
    def collect(self, views: list[Any], images: PackedImages, predictions: Sequence[dict], count: int) -> None:
        """Adds a loader's batch (pixels still uint8) to the views; the first ``count`` are shown whole."""

    @abstractmethod
    def page(self, run: Run) -> Page:
        """The page of a run that came to its end."""


def fragment(template: str, **values: object) -> str:
    """A piece of HTML from one of this folder's templates; its values are escaped."""
    return _environment().get_template(template).render(**values)


def render(page: Page) -> str:
    """The page as HTML."""
    return fragment("report.html", page=page)


def write(page: Page, path: str | Path) -> Path:
    """Renders the page into a file and returns its absolute path; what UTF-8 cannot hold, as in names of files, is escaped."""
    target = Path(path).absolute()
    data = render(page).encode("utf-8", "backslashreplace")
    write_file(target, lambda file: file.write(data))
    return target


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("finevit", "visualization")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cosine"] = lambda value: f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
    return environment


MOST = 60
"""So many changes and so many samples are listed."""
WIDE = 160
"""Characters of a value."""


class Changes(NamedTuple):
    """Settings with their values before and after: what the command line changed, and what the config file changes of its bases."""

    options: Sequence[tuple[str, str, str]]
    file: Sequence[tuple[str, str, str]]


class SkippedSamples(NamedTuple):
    """Reasons with their counts, and the messages about samples that could not be used."""

    reasons: Sequence[tuple[str, int]]
    messages: Sequence[str]


def run_sections(changes: Changes, planned: Sequence[Sequence[str]], left_out: SkippedSamples) -> list[Section]:
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
