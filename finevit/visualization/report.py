"""A run's report: one HTML file that needs nothing else, neither a network nor files beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from finevit.visualization.gallery import Column


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
class Page:
    """Everything the report shows. Text is escaped; ``facts`` are pairs of a name and a value."""

    title: str
    subtitle: str = ""
    figures: Sequence[Figure] = ()
    facts: Sequence[tuple[str, str]] = ()
    charts: Sequence[Chart] = ()
    gallery: Sequence[Column] = ()
    config: str = ""
    footnotes: Sequence[str] = field(default=())


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, StrictUndefined

    source = files("finevit.visualization").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    rows = list(zip(*(column.pictures for column in page.gallery), strict=True))
    return environment.from_string(source).render(page=page, rows=rows)


def write(page: Page, path: str | Path) -> Path:
    """Renders the page into a file and returns its absolute path."""
    target = Path(path).absolute()
    target.write_text(render(page), encoding="utf-8")
    return target
