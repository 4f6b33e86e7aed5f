"""Files of a shard: the tar of pixels and the Parquet tables; whole or absent, and of bytes that depend on their content alone."""

import hashlib
import io
import os
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pyarrow import parquet

from finevit.storage.durable import UNFINISHED, make_folder, sync_folder, write_file
from finevit.storage.regular import open_regular

from .schema import NAME, TABLES, VERSION

ROW_GROUP = 4096
"""Rows of a Parquet file that are read together."""


@dataclass(frozen=True)
class FileEntry:
    """A file of a shard in the manifest: ``path`` is its name in the folder, ``rows`` those of a table or the images of a tar."""

    path: str
    sha256: str
    bytes: int
    rows: int


class _Hashed:
    """What ``tarfile`` writes to: computes the SHA-256 on the way."""

    def __init__(self, path: Path) -> None:
        self.file, self.sha256 = path.open("wb"), hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def tell(self) -> int:
        return self.file.tell()


class TarWriter:
    """A tar of images under deterministic headers: it has its name when the ``with`` block ends, and not where that fails."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._unfinished = self._path.with_name(self._path.name + UNFINISHED)
        self._members: set[str] = set()
        self._entry: FileEntry | None = None

    def __enter__(self) -> Self:
        make_folder(self._path.parent)
        self._file = _Hashed(self._unfinished)
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # type: ignore[call-overload]
        return self

    def add(self, key: str, suffix: str, data: bytes) -> tuple[str, int, int]:
        """Writes ``key.suffix``: its name in the tar, where its bytes begin there, and how many they are."""
        member = f"{key}.{suffix.removeprefix('.')}"
        if member in self._members:
            raise ValueError(f"{self._path}: a member {member!r} is there already")
        self._members.add(member)
        header = tarfile.TarInfo(member)
        header.size = len(data)
        self._tar.addfile(header, io.BytesIO(data))
        padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return member, self._tar.offset - padded, len(data)

    @property
    def entry(self) -> FileEntry:
        """What the manifest lists, once the tar is whole."""
        assert self._entry, "the tar is being written"
        return self._entry

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        whole = False
        try:
            if kind is None:
                self._finish()
                whole = True
        finally:
            self._file.file.close()
            if not whole:
                with suppress(OSError):
                    self._unfinished.unlink()

    def _finish(self) -> None:
        self._tar.close()
        size = self._file.tell()
        self._file.file.flush()
        os.fsync(self._file.file.fileno())
        self._unfinished.replace(self._path)
        sync_folder(self._path.parent)
        self._entry = FileEntry(self._path.name, self._file.sha256.hexdigest(), size, len(self._members))


def read_member(path: str | Path, offset: int, size: int) -> bytes:
    """The bytes of an image in a tar."""
    try:
        with open_regular(path) as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); restore it") from None
    if len(data) != size:
        raise ValueError(f"{path} ended after {len(data):,} of {size:,} bytes at {offset:,}; restore it")
    return data


def write_table(table: pa.Table, folder: str | Path, stem: str) -> FileEntry:
    """Writes ``STEM.HASH.parquet`` into ``folder``, ``HASH`` being the beginning of its SHA-256: other content, other file."""
    data = encoded(table)
    digest = hashlib.sha256(data).hexdigest()
    path = Path(folder) / f"{stem}.{digest[:8]}.parquet"
    write_file(path, lambda file: file.write(data), shared=True)
    return FileEntry(path.name, digest, len(data), len(table))


def copy_table(path: str | Path, folder: str | Path, stem: str, rows: int) -> FileEntry:
    """A table's file, as ``write_table`` would write it, under its name in ``folder``; it is not read as Parquet."""
    data = Path(path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    target = Path(folder) / f"{stem}.{digest[:8]}.parquet"
    if not target.is_file() or target.stat().st_size != len(data):
        write_file(target, lambda file: file.write(data), shared=True)
    return FileEntry(target.name, digest, len(data), rows)


def encoded(table: pa.Table) -> bytes:
    """A table as Parquet, whose bytes depend on the rows and the schema alone, and not on how the table was put together."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=ROW_GROUP)
    return sink.getvalue().to_pybytes()


def read_table(path: str | Path) -> pa.Table:
    """The table of a Parquet file, which its name tells, with the columns of this version's schema.

    Columns that a newer minor version added are left out, those that an older one lacks are null; other files are refused.
    """
    path = Path(path)
    schema = TABLES[kind_of(path)]
    try:
        found = parquet.read_table(path, partitioning=None)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} cannot be read as Parquet ({error}); restore it") from None
    check_version(path, found.schema.metadata)
    columns = [_column(path, found, field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def kind_of(path: Path) -> str:
    """The name in ``TABLES`` of ``00000.captions.HASH.parquet``."""
    if kind := next((part for part in reversed(path.name.split(".")) if part in TABLES), ""):
        return kind
    raise ValueError(f"{path}: its name tells no table; they are {', '.join(TABLES)}, as in 00000.captions.parquet")


def check_version(path: Path, metadata: Any) -> None:
    """``ValueError`` for what is of another schema, or of another major version of it; keys and values may be bytes."""
    told = {_text(key): _text(value) for key, value in (metadata or {}).items()}
    if told.get("schema") != NAME:
        raise ValueError(f"{path} is none of {NAME}: its schema is {told.get('schema', 'not named')!r}")
    if told.get("version", "").split(".")[0] != VERSION.split(".")[0]:
        raise ValueError(
            f"{path} has version {told.get('version')!r} of {NAME}, and version {VERSION} is read; read it with the code of its own"
        )


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _column(path: Path, found: pa.Table, field: pa.Field) -> Any:
    """A column in the schema's type; null where a version before had none."""
    if field.name not in found.column_names:
        if field.nullable or not len(found):
            return pa.nulls(len(found), field.type)
        raise ValueError(f"{path} lacks the column {field.name!r}; restore it")
    try:
        column = found[field.name].cast(field.type)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: column {field.name!r} is not {field.type} ({error}); restore it") from None
    if column.null_count and not field.nullable:
        raise ValueError(f"{path}: column {field.name!r} must not be null, and is in {column.null_count:,} rows; restore it")
    return column
