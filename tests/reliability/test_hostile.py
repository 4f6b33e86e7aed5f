"""Checkpoints that hold code, by every road that reads one: nothing of it runs, and each is refused by name."""

import builtins
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from readers import make, roads, save


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(whole: dict, folder: Path, mark: Path) -> dict[str, Path]:
    """Files by name; each would make ``mark``."""
    system = Calls(os.system, f"touch {mark}")
    evil = {
        "system": {**whole, "optimizer": system},
        "eval": {**whole, "optimizer": Calls(eval, f"open({str(mark)!r}, 'w')")},
        "exec": {**whole, "extra": Calls(builtins.exec, f"open({str(mark)!r}, 'w')")},
        "open": {**whole, "extra": Calls(open, str(mark), "w")},
        "in_weights": {**whole, "state_dict": {**whole["state_dict"], "backbone.evil": system}},
        "in_messages": {**whole, "message_hub": {**whole["message_hub"], "runtime_info": {"x": [system]}}},
        "in_meta": {**whole, "meta": {**whole["meta"], "dataset_meta": system}},
        "objects": {**whole, "extra": np.array([system], dtype=object)},
        "getattr": {**whole, "extra": Calls(getattr, Calls(__import__, "os"), "system")},
        "import": {**whole, "extra": Calls(__import__, "antigravity")},
        "torch_load": {**whole, "extra": Calls(torch.load, str(mark))},
        "numpy_load": {**whole, "extra": Calls(np.load, str(mark))},
    }
    files = {name: save(content, folder / f"{name}.pth") for name, content in evil.items()}
    files["legacy"] = save(evil["system"], folder / "legacy.pth", _use_new_zipfile_serialization=False)
    files["protocol4"] = save(evil["system"], folder / "protocol4.pth", pickle_protocol=4)
    files["plain_pickle"] = folder / "plain_pickle.pkl"
    files["plain_pickle"].write_bytes(pickle.dumps(evil["system"]))
    files["bare_zip"] = folder / "bare_zip.pth"
    with zipfile.ZipFile(files["bare_zip"], "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(system, 2))
        archive.writestr("x/version", "3\n")
    files["safetensors"] = folder / "no.safetensors"
    files["safetensors"].write_bytes((2**40).to_bytes(8, "little") + b"{" + b" " * 64)
    return files


def config_texts(mark: Path) -> list[str]:
    return [
        f"__import__('os').system('touch {mark}')",
        f"x = open({str(mark)!r}, 'w')",
        f"model = dict(type='os.system', command='touch {mark}', backbone=dict(type='os.system', command='touch {mark}'))",
        f"model = dict(type='subprocess.check_output', backbone=dict(type='subprocess.check_output', args=['touch', '{mark}']))",
    ]


def test_hostile(trial, tmp_path):
    config, whole = make(tmp_path)
    mark, attempts, refused = tmp_path / "ran", 0, 0
    files = hostile(whole, tmp_path, mark)
    for name, file in list(files.items())[: trial.count(len(files))] if trial.share < 0.05 else files.items():
        for road, read in roads(config, tmp_path).items():
            code, said = read(file)
            attempts += 1
            assert not mark.exists(), (name, road)
            assert code != 0, (name, road)
            assert file.name in said, (name, road, said[-500:])
            assert "Traceback" not in said, (name, road, said[-1500:])
            refused += 1
    for text in config_texts(mark):
        file = save({**whole, "meta": {**whole["meta"], "cfg": text}}, tmp_path / "told.pth")
        for road in ("export", "probe"):
            code, said = roads(config, tmp_path)[road](file)
            attempts += 1
            assert not mark.exists(), (text, road)
            assert code != 0, (text, road)
            assert file.name in said, (text, road, said[-500:])
            refused += 1
    trial.record(attempts=attempts, refused=refused, ran=0)
    assert refused == attempts
