"""What checkpoints hold beside weights and plain values, MMEngine's histories and NumPy's numbers, without their own code.

Reading a pickle calls what it names. Of these it gets stand-ins, none of which calls, imports or looks up what a file says.
"""

import pickle
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


class _Number:
    """What a pickle says of NumPy's type of numbers or texts; nothing of NumPy is run."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[iufc]\d{1,2}|b1|[US]\d{1,4}", code):
            raise pickle.UnpicklingError(f"NumPy's {code!r} is no type of numbers or texts")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(f"{self.order}{self.code}")


class _Array:
    """An array as NumPy pickles it: its shape, type and bytes."""

    def __init__(self, *_: Any) -> None:
        self.values = np.zeros(0)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, number, fortran, data = state
        if not isinstance(number, _Number) or not isinstance(data, bytes | str):
            raise pickle.UnpicklingError("a NumPy array of objects is no array of numbers")
        values = np.frombuffer(_bytes(data), number.dtype).reshape(shape, order="F" if fortran else "C")
        self.values = values.copy(order="F" if fortran else "C")


class _History:
    """MMEngine's history of a logged value; not the methods that a file could give it."""

    def __init__(self) -> None:
        self.state: Mapping[str, Any] = {}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.state = state


def _bytes(data: bytes | str) -> bytes:
    return data.encode("latin-1") if isinstance(data, str) else data


def _scalar(number: _Number, data: bytes | str) -> Any:
    return np.frombuffer(_bytes(data), number.dtype)[0]


def _method(_: Any, name: str) -> str:
    """Histories name their own methods, which they have anyway."""
    return name


ALLOWED: list[Any] = [
    (_History, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_method, "builtins.getattr"),
    (_Number, "numpy.dtype"),
    *((_Array, f"numpy.{name}") for name in ("ndarray", "_core.multiarray._reconstruct", "core.multiarray._reconstruct")),
    *((_scalar, f"numpy.{name}.multiarray.scalar") for name in ("_core", "core")),
]
"""Stand-ins for what a file may name beside torch's own; none of them calls, imports or looks up what a file says."""


def real(value: Any, done: dict[int, Any] | None = None) -> Any:
    """Stand-ins replaced by what they stand for, in place where that is possible; what occurs twice is looked at once."""
    done = {} if done is None else done
    if id(value) in done or not isinstance(value, dict | list | tuple | _Array | _History):
        return done.get(id(value), value)
    done[id(value)] = value
    if isinstance(value, dict):
        for key, each in value.items():
            value[key] = real(each, done)
    elif isinstance(value, list):
        value[:] = [real(each, done) for each in value]
    elif type(value) is tuple:
        done[id(value)] = tuple(real(each, done) for each in value)
    elif isinstance(value, _Array):
        done[id(value)] = value.values
    elif isinstance(value, _History):
        done[id(value)] = _history({name: real(each, done) for name, each in value.state.items()})
    return done[id(value)]


def _history(state: Mapping[str, Any]) -> HistoryBuffer:
    made = HistoryBuffer(max_length=int(state["max_length"]))
    made._log_history, made._count_history = (np.asarray(state[name]) for name in ("_log_history", "_count_history"))
    if not all(row.ndim == 1 and row.dtype.kind in "iuf" for row in (made._log_history, made._count_history)):
        raise ValueError("a history of logged values is no row of numbers")
    return made


def plain(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint whose logged values are tensors and numbers, so that torch reads it as weights alone."""
    hub = checkpoint.get("message_hub")
    return {**checkpoint, "message_hub": _plain(hub)} if isinstance(hub, Mapping) else dict(checkpoint)


def _plain(value: Any) -> Any:
    if isinstance(value, HistoryBuffer):
        arrays = {name: torch.from_numpy(np.array(getattr(value, name))) for name in ("_log_history", "_count_history")}
        return {**arrays, "max_length": value.max_length}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return type(value)((key, _plain(each)) for key, each in value.items())
    return [_plain(each) for each in value] if type(value) is list else value


def histories(content: Any) -> Any:
    """What :func:`plain` wrote, with MMEngine's histories again."""
    hub = content.get("message_hub") if isinstance(content, dict) else None
    scalars = hub.get("log_scalars") if isinstance(hub, dict) else None
    if isinstance(scalars, dict):
        for name, value in scalars.items():
            if isinstance(value, dict) and value.keys() == {"_log_history", "_count_history", "max_length"}:
                scalars[name] = _history({key: _numbers(each) for key, each in value.items()})
    return content


def _numbers(value: Any) -> Any:
    return value.numpy(force=True) if isinstance(value, torch.Tensor) else value
