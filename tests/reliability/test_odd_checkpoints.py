"""Checkpoints changed in one place, by every road that reads one: used, or refused in one line that names the file."""

import faulthandler
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from odd import mutated
from readers import answers, make, probed, roads, save, train

LONG = 300
"""Seconds after which a road hangs: the process ends, and shows where."""


def ended(read: Callable[[Path], tuple[int, str]], file: Path) -> tuple[int, str]:
    """What a road says and how it ends, also where that is an error from within."""
    faulthandler.dump_traceback_later(LONG, exit=True)
    try:
        return read(file)
    except Exception:
        return 1, traceback.format_exc()
    finally:
        faulthandler.cancel_dump_traceback_later()


def test_odd_checkpoints(trial, tmp_path):
    config, _ = make(tmp_path)
    ways = {**roads(config, tmp_path), "serve": lambda file: answers(config, file), "probe": probed}
    code, said = train(config, tmp_path / "whole")
    assert code == 0, said
    whole = torch.load(tmp_path / "whole/iter_2.pth")
    used = refused = 0
    broken = []
    for number, (what, content) in enumerate(mutated(whole, trial.count(200))):
        file = save(content, tmp_path / "odd.pth")
        for road, read in ways.items():
            code, said = ended(read, file)
            held = code == 0 or (code == 2 and "odd.pth" in said and "Traceback" not in said)
            used, refused = used + (code == 0), refused + (code != 0)
            if not held:
                broken.append((what, road, code, said[-1500:]))
                print(f"\n--- {number} {what} by {road}: {code}\n{said[-1500:]}")
            for left in ("out", "export"):
                shutil.rmtree(tmp_path / left, ignore_errors=True)
    trial.record(checkpoints=number + 1, roads=len(ways), used=used, refused=refused, tracebacks=len(broken))
    assert not broken, [each[:3] for each in broken]
    assert refused > used / 50
