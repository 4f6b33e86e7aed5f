"""Text files as Windows and others write them: read to the letter, or refused with the remedy; never noise."""

import codecs

import pytest

from finevit.datasets.readers.encodings import decode_text, encoding_of, text_lines

TEXT = "Ein Häuschen – “a dog” runs\r\nover the wet grass 🐕."
CHINESE = "一只狗在草地上奔跑"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
    ],
    ids=["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "le without mark", "be without mark"],
)
def test_a_text_is_read_to_the_letter(data):
    assert decode_text(data) == TEXT


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_other_scripts_and_no_text_at_all(codec):
    assert decode_text(CHINESE.encode(codec)) == CHINESE
    assert decode_text("Собака бежит".encode(codec)) == "Собака бежит"
    assert decode_text("".encode(codec)) == ""
    assert decode_text("a".encode(codec)) == "a"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("café crème".encode("latin-1"), r"not UTF-8 \(byte 0xe9 at 3: .*\); save it as UTF-8, for instance by iconv"),
        ("“quoted”".encode("cp1252"), r"not UTF-8 \(byte 0x93 at 0"),
        (CHINESE.encode("gbk"), r"not UTF-8 \(byte 0xb9 at 4"),
        ("犬が走る".encode("shift-jis"), "not UTF-8"),
        (b"caf\xe9 caf\xc3\xa9", r"not UTF-8 \(byte 0xe9 at 3"),
        ("a dog".encode("utf-16")[:-1], r"not UTF-16\S* \(.*truncated data\)"),
        (CHINESE.encode("utf-16-le"), "not UTF-8"),
        ("Собака бежит".encode("utf-16-le"), "no text, or UTF-16 without a byte order mark"),
        ("Собака бежит".encode("utf-16-be"), "no text, or UTF-16 without a byte order mark"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "not UTF-8"),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused(data, told):
    with pytest.raises(ValueError, match=told):
        decode_text(data)


def test_stray_control_characters_are_left_to_the_captions():
    assert decode_text(b"a dog\0\0\0\0\0\0\0") == "a dog\0\0\0\0\0\0\0"
    assert decode_text(b"ab\0") == "ab\0"
    assert decode_text(b"a large dog\x07 runs") == "a large dog\x07 runs"


def test_lines_end_where_people_end_them():
    assert text_lines("one\u2028still one\n\ntwo\x0bstill\x0c\x1c\x85two\r\nthree\rfour") == [
        "one\u2028still one", "", "two\x0bstill\x0c\x1c\x85two", "three", "four",
    ]  # fmt: skip
    assert text_lines("") == [""]


def test_the_beginning_of_a_file_tells_its_encoding():
    assert [encoding_of(TEXT.encode(codec)[:16]) for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")] == [
        "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be",
    ]  # fmt: skip
