"""Peak memory: what was allocated on a GPU, or, without one, what the process held in main memory."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

GIB = 2**30
_PROCESS = Path("/proc/self")


def reset_peak(device: torch.device) -> None:
    """From here on :func:`peak` tells of what follows. (A CPU without Linux cannot forget its peak.)"""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")


def peak(device: torch.device) -> int:
    """Bytes at most since the last reset."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _field("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def held(device: torch.device) -> int:
    """Bytes now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _field("VmRSS") or peak(device)


def free(device: torch.device) -> int:
    """Bytes that could still be taken; a guess where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _field("MemAvailable", _PROCESS.parent / "meminfo") or 4 * GIB


def _field(name: str, file: Path = _PROCESS / "status") -> int:
    """A value of one of Linux's tables, in bytes; 0 where there is none."""
    with suppress(OSError):
        for line in file.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
