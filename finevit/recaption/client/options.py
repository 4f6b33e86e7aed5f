"""Settings of the client that an engine's config holds by name, and the address of a server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le, Len
from pydantic import NonNegativeFloat, PositiveInt

from finevit.recaption.wording import LANGUAGES
from finevit.signatures import wrong_values
from finevit.suggest import did_you_mean

CONNECTIONS = 1024
"""Open connections of a process, to all servers together."""
Seconds = Annotated[float, Gt(0), Le(86_400)]


@dataclass(frozen=True)
class ClientOptions:
    """How a process asks: ``in_flight`` requests at once, each tried ``attempts`` times with ``deadline_s`` for each attempt,
    ``connect_s`` of it for the connection, and exponential waits from ``wait_s`` between them, longer where the server says so.

    ``requests_per_minute`` (0: no limit) spaces attempts evenly; it and ``in_flight`` are those of one process. The API key is in
    the environment variable ``api_key_env``; where that is not set, none is sent. ``price`` is money for a million tokens sent and
    received.
    """

    api_key_env: str = "OPENAI_API_KEY"
    in_flight: Annotated[int, Ge(1), Le(CONNECTIONS)] = 16
    attempts: PositiveInt = 5
    connect_s: Seconds = 10.0
    deadline_s: Seconds = 120.0
    wait_s: Seconds = 1.0
    requests_per_minute: NonNegativeFloat = 0.0
    price: Annotated[Sequence[NonNegativeFloat], Len(2, 2), "two numbers: of a million tokens sent, and received"] = (0.0, 0.0)


@dataclass(frozen=True)
class Generation:
    """How answers are made and which are taken: the ``temperature``; ``body``, what else the request's JSON object holds, such as
    ``dict(seed=0)`` (None leaves a field out); the ``language`` that texts are to have ("": any)."""

    temperature: Annotated[float, Ge(0), Le(2)] = 0.0
    language: Literal[("", *LANGUAGES)] = ""  # type: ignore[valid-type]
    body: Mapping[str, Any] = field(default_factory=dict)


Options = TypeVar("Options", ClientOptions, Generation)


def options(setting: str, kind: type[Options], given: Mapping[str, Any]) -> Options:
    """What a setting gives by name; ``ValueError`` names what is none of its settings, or has another value."""
    names = [each.name for each in fields(kind)]
    unknown = [name for name in given if name not in names]
    errors = [
        f"{setting}.{name}: no such setting{did_you_mean(str(name), names)}; there are {', '.join(names)}" for name in unknown
    ]
    if errors := errors or wrong_values(setting, given, kind):
        raise ValueError("; ".join(errors))
    return kind(**given)


def address(base_url: str) -> str:
    """The address of the API without its last slash, such as ``http://localhost:8000/v1``. ``ValueError`` for what is none, and for
    one that holds a password or a key, of which nothing is repeated."""
    remedy = "give one such as http://localhost:8000/v1"
    if any(mark in base_url for mark in "@?#"):
        where = base_url.partition("://")[0] if "://" in base_url else "http"
        raise ValueError(
            f"base_url={where}://...: an address holds no name, password, query or fragment, for it is shown; API keys come from "
            f"the environment variable that client.api_key_env names; {remedy}"
        )
    if not _is_address(base_url):
        raise ValueError(f"base_url={base_url!r} is no address; {remedy}")
    return base_url.rstrip("/").removesuffix("/chat/completions")


def _is_address(base_url: str) -> bool:
    try:
        parts = urlsplit(base_url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of odd brackets and ports
        return False
