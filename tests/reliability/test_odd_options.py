"""Odd ``--cfg-options``: each run starts, or says at its start which setting cannot be used; none shows a traceback or hangs."""

import os
import random
from collections import Counter

import pytest
import torch
from odd_options import CONFIGS, HEALTHY, NAMED, ROOT, SEEDS, Attempt, names_setting, odd_options, settings, starts


@pytest.fixture
def names():
    """Every setting by config; loads what all starts need, once."""
    from finevit.config.loading import load_config
    from finevit.plugins import load_plugins
    from finevit.registry import REGISTRIES

    load_plugins()
    for registry in REGISTRIES.values():
        registry.import_from_location()
    torch.set_num_threads(1)  # a process with more must not be forked
    return {config: list(settings(load_config(ROOT / config).to_dict())) for config in CONFIGS}


def test_odd_options(trial, names, tmp_path):
    found, failed = Counter(), []
    seeds = [(seed, CONFIGS[seed % len(CONFIGS)]) for seed in range(SEEDS, SEEDS + trial.count(1000))]
    attempts = [Attempt(seed, config, odd_options(random.Random(seed), names[config])) for seed, config in seeds]
    for attempt, outcome in starts(attempts, tmp_path, at_once=os.cpu_count() or 1):
        unnamed = outcome.kind == NAMED and not names_setting(outcome.told, attempt.options)
        found["unnamed" if unnamed else outcome.kind] += 1
        if unnamed or outcome.kind not in (HEALTHY, NAMED):
            failed.append(attempt)
            print(*attempt, outcome.kind, (outcome.told.strip().splitlines() or [""])[-1][:500], flush=True)
        if found.total() % 50 == 0:
            print(f"{found.total()} starts: {dict(found)}", flush=True)
    trial.record(starts=found.total(), first_seed=SEEDS, **found)
    assert not failed
