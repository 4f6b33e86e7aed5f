"""Whether a checkpoint's weights are those that are to be exported, and what to say where they are not."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

SHOWN = 20
"""So many keys are listed in a message; all of a longer list go to a file."""


def check_keys(checkpoint: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, part: str, remedy: str) -> None:
    """``ValueError`` lists the keys of a part that are missing, unexpected, of another shape or not finite."""
    faults = [f"{part}.{key}: {what}" for key, what in _faults(wanted, found).items()]
    if not faults:
        return
    shown = "\n  ".join(faults[:SHOWN])
    more = "" if len(faults) <= SHOWN else f"\n  and {len(faults) - SHOWN} more, all of them in {_list_all(checkpoint, faults)}"
    raise ValueError(f"checkpoint={checkpoint.name!r}: {len(faults)} keys do not fit:\n  {shown}{more}\n{remedy}")


def _faults(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, str]:
    """What is wrong, by key."""
    faults = {key: "missing" for key in wanted if key not in found}
    faults |= {key: "unexpected" for key in found if key not in wanted}
    for key in [key for key in wanted if key in found]:
        there, here = list(found[key].shape), list(wanted[key].shape)
        if there != here:
            faults[key] = f"is {there}, wanted {here}"
        elif not found[key].isfinite().all():
            faults[key] = "holds numbers that are not finite"
    return faults


def _list_all(checkpoint: Path, faults: list[str]) -> str:
    """Writes the list into the current folder."""
    path = Path(f"{checkpoint.stem}_refused_keys.txt")
    path.write_text("\n".join(faults) + "\n")
    return str(path)
