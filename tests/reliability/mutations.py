"""Odd values, odd bytes and odd headers: one fault, or a few, put into a file of a set."""

import copy
import json
import random
import re
import struct
import tarfile

from sets import Pickled, Tar, encoded

DEEP, HUGE, TWICE = "@@deep@@", "@@huge@@", "@@twice@@"
"""Strings in whose place the text of a JSON file gets what no value can write."""
ODD = (
    *(None, True, False, 0, -1, 1, 7.5, -0.0, 2**31, 2**63, -(2**70), 10**400, 1e308, float("nan"), float("inf"), -float("inf")),
    *("", " ", "abc", "1", "1e999", "NaN", "\ud800", "\udfff\ud800", "\0", "a\0b", "x" * 5000, "../../../etc/passwd", "/", "."),
    *("\u202e\u2028", "\ufeff", "//", "é" * 300, "-1", "７", "a/b/c/d", "http://x/y.png", "<image><image>", "{about}{c}{}%s"),
    *([], {}, [[]], [None], [{}], {"a": 1}, {"": None}, [1, 2, 3, 4], [0, 0, 0, 0], ["a", "b"], [[1, 2], [3]], DEEP, HUGE, TWICE),
)
"""Values that no field expects, or that look nearly like those it does."""
UNWRITTEN = (b"bytes", (), (1, 2), {1, 2}, complex(1, 2), bytearray(b"x"), frozenset(), range(3), Ellipsis)
"""Values that a pickle holds and JSON does not."""


def mutated(content: object, chance: random.Random) -> bytes:
    """A file with a fault in its values or in its bytes."""
    if isinstance(content, Tar):
        return headers(encoded(content), chance) if chance.random() < 0.7 else bytes_of(encoded(content), chance)
    if isinstance(content, bytes | str) or chance.random() < 0.2:
        return bytes_of(encoded(content), chance)
    whole = copy.deepcopy(content.content if isinstance(content, Pickled) else list(content) if _lines(content) else content)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        whole = values(whole, chance, (*ODD, *UNWRITTEN) if isinstance(content, Pickled) else ODD)
    if isinstance(content, Pickled):
        return encoded(Pickled(whole))
    return _text(tuple(whole) if _lines(content) and isinstance(whole, list) else whole)


def _lines(content: object) -> bool:
    return isinstance(content, tuple)


def _text(whole: object) -> bytes:
    """JSON, with depths, numbers and keys that only a text can have."""
    text = (encoded(whole) if isinstance(whole, tuple) else json.dumps(whole).encode()).decode()
    text = text.replace(json.dumps(DEEP), "[" * 100_000 + "]" * 100_000).replace(json.dumps(HUGE), "9" * 5000)
    return text.replace(json.dumps(TWICE), '{"a": 1, "a": 2}').encode()


def values(whole: object, chance: random.Random, odd: tuple) -> object:
    """A document with one value changed: any, at any depth."""
    places = list(_places(whole))
    if not places or chance.random() < 0.02:
        return copy.deepcopy(chance.choice(odd))
    deepest = [place for place in places if len(place) == max(map(len, places))]
    place = chance.choice(chance.choice((places, places, deepest)))
    parent = whole
    for key in place[:-1]:
        parent = parent[key]  # type: ignore[index]
    key, value = place[-1], parent[place[-1]]  # type: ignore[index]
    match chance.randrange(10):
        case 0 | 1 | 2 | 3 | 4:
            parent[key] = copy.deepcopy(chance.choice(odd))  # type: ignore[index]
        case 5:
            del parent[key]  # type: ignore[attr-defined]
        case 6:
            parent[key] = chance.choice(([value], {"a": value}, [value, value], [[value]]))  # type: ignore[index]
        case 7:
            parent[key] = _spelt(value)  # type: ignore[index]
        case 8:
            other = whole
            for step in chance.choice(places):
                other = other[step]  # type: ignore[index]
            parent[key] = copy.deepcopy(other)  # type: ignore[index]
        case _ if isinstance(parent, dict):
            parent[chance.choice((f"{key} ", str(key).upper(), f"{key}s", ""))] = parent.pop(key)
        case _:
            parent.insert(key, copy.deepcopy(value))  # type: ignore[attr-defined]
    return whole


def _places(whole: object, place: tuple = ()):
    """The ways to every value in a document."""
    items = whole.items() if isinstance(whole, dict) else enumerate(whole) if isinstance(whole, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from _places(value, (*place, key))


def _spelt(value: object) -> object:
    """A number as text, text as a number, a list as an object, an object as a list."""
    if isinstance(value, list):
        return {str(place): item for place, item in enumerate(value)}
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, str):
        return int(value) if re.fullmatch("[0-9]{1,9}", value) else len(value)
    return str(value)


def bytes_of(data: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut off, left out, repeated, put in."""
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((1, 3, 17, 512, 4096)))
    noise = chance.choice(
        (bytes(end - start), chance.randbytes(max(end - start, 1)), b"\xff" * 3, b"\n", b'"', b"\0", b"\xed\xa0\x80")
    )
    match chance.randrange(9):
        case 0:
            return data[:start]
        case 1:
            return data[:start] + data[end:]
        case 2:
            return data[:start] + data[start:end] * 2 + data[end:]
        case 3:
            return data[:start] + noise + data[start:]
        case 4:
            return chance.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"\0", b"PK\3\4", b"\n\n")) + data
        case 5:
            return data + chance.choice((data, noise, b"\0" * 1024, b"\x1a"))
        case 6:
            return chance.choice((b"", b"\n", b"null", b"[]", b"{}", b"[" * 100_000, b"1", b'"a"', bytes(2048), b"\x80\x02."))
        case 7:
            return data.decode("latin-1").encode(chance.choice(("utf-16", "utf-32", "utf-16-be", "utf-8-sig")))
    return data[:start] + bytes(byte ^ 1 << chance.randrange(8) for byte in data[start:end]) + data[end:]


_FIELDS = (
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (136, 12),
    (148, 8),
    (156, 1),
    (157, 100),
    (257, 8),
    (345, 155),
    (329, 8),
)
_NUMBERS = (
    *(b"-1", b"77777777777", b"abc", b"", b"9", b"0", b" 7 \0", b"+5", b"1_0", b"0o17", b"00000000177\0"),
    *(b"\x80" + struct.pack(">Q", n).rjust(11, b"\0") for n in (0, 5, 2**20, 2**31, 2**40, 2**63, 2**64 - 1)),
    *(b"\xff" * 4 + struct.pack(">q", -n) for n in (1, 256, 512, 1024, 1536, 4096, 2**40, 2**62)),
    *(b"\xff" * 4 + b"\0" * 8, b"\x80" + b"\xff" * 11, b"\xfe" * 12),
)
_NAMES = (
    b"",
    b"/",
    b"..",
    b"../../x.png",
    b"/etc/passwd",
    b"a\xff\xfe.png",
    b".png",
    b"a/",
    b"a\n\x1b[2J.png",
    b"a/1.png",
    b"." * 100,
)
_TYPES = (b"0", b"\0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"S", b"x", b"g", b"X", b"V", b"D", b"Z", b"\xff")
_PAX = (
    *(
        "size=abc",
        "size=-1",
        "size=1e3",
        "size=99999999999999999999",
        "size=",
        "mtime=nan",
        "mtime=inf",
        "mtime=x",
        "path=",
        "path=/",
    ),
    *("path=../x.png", "path=a\0b.png", "uid=x", "linkpath=", "hdrcharset=BINARY", "hdrcharset=x", "GNU.sparse.major=1", "=", "a"),
    *("GNU.sparse.map=0,1,2", "GNU.sparse.map=a,b", "GNU.sparse.map=", "GNU.sparse.size=x", "GNU.sparse.size=-5", "size=٣"),
    *(
        "GNU.sparse.major=1\nGNU.sparse.minor=0",
        "GNU.sparse.major=1\nGNU.sparse.minor=0\nGNU.sparse.realsize=x",
        "SCHILY.xattr.a=b",
    ),
    *("GNU.sparse.numblocks=9", "GNU.sparse.offset=x", "GNU.sparse.offset=1\nGNU.sparse.numbytes=y", "GNU.sparse.map=0,9,5,9,1,1"),
)


def headers(data: bytes, chance: random.Random) -> bytes:
    """A tar, one of whose headers says what is odd; mostly with the right check sum, as a strange program would write it."""
    blocks = [at for at in range(0, len(data) - 511, 512) if data[at + 257 : at + 262] == b"ustar"]
    at = chance.choice(blocks)
    if chance.random() < 0.3:
        return data[:at] + _pax(chance) + data[at:]
    block = bytearray(data[at : at + 512])
    for _ in range(chance.choice((1, 1, 2))):
        offset, size = chance.choice(_FIELDS)
        kinds = {0: _NAMES, 157: _NAMES, 345: _NAMES, 156: _TYPES}.get(offset, _NUMBERS)
        value = chance.choice(kinds) if chance.random() < 0.9 else chance.randbytes(size)
        block[offset : offset + size] = value[:size].ljust(size, b"\0")
    if chance.random() < 0.85:
        _sum(block)
    return data[:at] + bytes(block) + data[at + 512 :]


def _sum(block: bytearray) -> None:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)


def _pax(chance: random.Random) -> bytes:
    """A header of further records, some of them with a wrong length."""
    if chance.random() < 0.1:
        body = chance.choice((b"9" * 200_000, b"2 " * 100_000 + b"=", b"1" * 5000 + b" a=b\n", b"\n" * 3000, b" " * 2000))
    else:
        lines = chance.choice(_PAX).split("\n")
        body = b"".join(_record(line.encode("utf-8", "surrogateescape"), chance) for line in lines)
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = chance.choice((b"x", b"x", b"x", b"g", b"X", b"L", b"K", b"S")), len(body)
    return (info.tobuf(tarfile.USTAR_FORMAT) + body.ljust(-(-len(body) // 512) * 512, b"\0")) * chance.choice((1, 1, 1, 2, 1200))


def _record(line: bytes, chance: random.Random) -> bytes:
    length = len(line) + 2
    length += len(str(length + len(str(length))))
    said = chance.choice((length,) * 8 + (0, -5, 10**6, length - 1))
    return b"%d %s\n" % (said, line)
