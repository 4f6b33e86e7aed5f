"""JPEG files without the segments that no pixel depends on, for those of which one is torn."""

_COMMENT, _EXIF, _ADOBE = 0xFE, 0xE1, 0xEE
_SCAN, _END = 0xDA, 0xD9
SIGNATURE = b"\xff\xd8\xff"


def without_segments(data: bytes) -> bytes:
    """The file without comments and application segments but Exif, XMP and a whole one of Adobe, which says what colours mean."""
    kept, start = [data[:2]], 2
    while start + 4 <= len(data) and data[start] == 0xFF and (marker := data[start + 1]) not in (_SCAN, _END):
        stop = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if stop > len(data) or marker == 0xFF:
            break
        if (not 0xE0 <= marker <= 0xEF and marker != _COMMENT) or _needed(marker, data[start + 4 : stop]):
            kept.append(data[start:stop])
        start = stop
    return b"".join([*kept, data[start:]])


def _needed(marker: int, content: bytes) -> bool:
    whole = len(content) >= 12 and content.startswith(b"Adobe")
    return (marker == _EXIF and content.startswith((b"Exif\0", b"http://ns.adobe.com/xap/"))) or (marker == _ADOBE and whole)
