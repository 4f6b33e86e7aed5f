"""A bit that flips and a hole of 64 KiB in a checkpoint: each is refused by name, by every road that reads one."""

import random

from readers import make, roads, save

from finevit.storage.durable import write_file

HOLE = 64 << 10


def test_damage(trial, tmp_path):
    config, whole = make(tmp_path)
    path, chance = tmp_path / "iter_2.pth", random.Random(0)
    write_file(path, lambda file: save(whole, file), digest=True)
    good = path.read_bytes()
    flips = [1 << chance.randrange(8) for _ in range(trial.count(200))]
    damaged = [(chance.randrange(len(good)), bit) for bit in flips]
    holes = [(start, 0) for start in range(0, len(good), HOLE)]
    refused = attempts = 0
    for start, bit in [*damaged, *holes]:
        bad = bytearray(good)
        if bit:
            bad[start] ^= bit
        else:
            bad[start : start + HOLE] = bytes(len(bad[start : start + HOLE]))
        path.write_bytes(bad)
        for road, read in roads(config, tmp_path).items():
            code, said = read(path)
            attempts += 1
            held = code != 0 and path.name in said and "damaged" in said and "Traceback" not in said
            refused += held
            assert held, (road, start, bit, code, said[-1000:])
    trial.record(flips=len(damaged), holes=len(holes), roads=7, attempts=attempts, refused=refused)
    assert refused == attempts
