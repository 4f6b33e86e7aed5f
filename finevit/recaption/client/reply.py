"""What became of a request that was sent."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What a server said: ``data`` is the JSON object of a chat completion where ``status`` is empty. ``code`` is HTTP's, 0 where
    there was no response; ``wait`` are the seconds that the server asks for, ``again`` is whether another attempt may help."""

    status: str = ""
    detail: str = ""
    data: Any = None
    code: int = 0
    wait: float = 0.0
    again: bool = False
    attempts: int = 1
    seconds: float = 0.0
