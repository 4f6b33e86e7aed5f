"""Checkpoints changed in one place, by every road that reads one: used, or refused in one line that names the file."""

import shutil

import torch
from odd import mutated
from readers import answers, make, probed, roads, save, train


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
            code, said = read(file)
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
