"""Odd ``--cfg-options``: each run starts, or says at its start which setting cannot be used; none shows a traceback or hangs."""

import random
import shutil
from collections import Counter

import pytest
import torch
from odd_options import CONFIGS, HEALTHY, NAMED, ROOT, SEEDS, names_setting, odd_options, settings, start


@pytest.fixture
def names():
    """Every setting by config; loads what all starts need, once."""
    from finevit.engine.config import load_config
    from finevit.plugins import load_plugins
    from finevit.registry import REGISTRIES

    load_plugins()
    for registry in REGISTRIES.values():
        registry.import_from_location()
    torch.set_num_threads(1)  # a process with more must not be forked
    return {config: list(settings(load_config(ROOT / config).to_dict())) for config in CONFIGS}


def test_odd_options(trial, names, tmp_path):
    found, failed = Counter(), []
    for seed in range(SEEDS, SEEDS + trial.count(1000)):
        config = CONFIGS[seed % len(CONFIGS)]
        options = odd_options(random.Random(seed), names[config])
        folder = tmp_path / "start"
        folder.mkdir()
        outcome = start(config, options, folder)
        shutil.rmtree(folder)
        kind = "unnamed" if outcome.kind == NAMED and not names_setting(outcome.told, options) else outcome.kind
        found[kind] += 1
        if kind not in (HEALTHY, NAMED):
            failed.append(f"seed {seed}: {config} {options}: {kind}")
            print(failed[-1], (outcome.told.strip().splitlines() or [""])[-1][:200], flush=True)
    trial.record(starts=found.total(), first_seed=SEEDS, **found)
    assert not failed
