"""Bodies that are no questions."""

import json
import random
from collections.abc import Iterator

from served import question


def odd_bodies(seed: int) -> Iterator[bytes]:
    """Bodies that no server answers, one after the other without end: each is refused."""
    chance = random.Random(seed)
    while True:
        yield chance.choice(_ODD)(chance)


def _value(chance: random.Random) -> object:
    values = None, True, -1, 0, 1e308, 10**400, "", "\ud800", [], {}, [[]], {"a": {}}, "x" * 1000, float("nan"), [None] * 9
    return chance.choice(values)


def _replaced(chance: random.Random) -> bytes:
    """A question of which one part is something else."""
    body = question()
    place = chance.choice(("model", "messages", "role", "content", "part", "url", "text"))
    message = body["messages"][0]
    into = {"role": message, "content": message, "url": message["content"][0]["image_url"], "text": message["content"][1]}
    if place == "part":
        message["content"][chance.randrange(2)] = _value(chance)
    else:
        sound = ("x" * 1000,) if place in ("content", "text") else ()
        while (value := _value(chance)) in sound:
            pass
        into.get(place, body)[place] = value
    return json.dumps(body).encode()


def _setting(chance: random.Random) -> bytes:
    """A question with a setting that cannot be."""
    name = chance.choice(("n", "max_tokens", "temperature", "stop", "stream", "tools", "response_format"))
    value = chance.choice(("x" if name != "stop" else 7, [1], {"a": 1}, -1))
    return json.dumps(question() | {name: value}).encode()


def _cut(chance: random.Random) -> bytes:
    body = json.dumps(question()).encode()
    return body[: chance.randrange(len(body))]


def _flipped(chance: random.Random) -> bytes:
    """An image whose base64 is damaged."""
    body = bytearray(json.dumps(question()).encode())
    for _ in range(30):
        body[body.index(b"base64,") + 7 + chance.randrange(90)] = chance.choice(b"\x01!?AZ-_")
    return bytes(body)


def _deep(chance: random.Random) -> bytes:
    return chance.choice((b"[", b'{"a":')) * chance.randrange(1, 20_000)


def _noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(2000))


def _number(chance: random.Random) -> bytes:
    return b'{"model": "tiny", "messages": ' + b"9" * chance.randrange(1, 100_000) + b"}"


_ODD = _replaced, _setting, _cut, _flipped, _deep, _noise, _number
