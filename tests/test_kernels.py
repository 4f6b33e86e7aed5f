"""How many compiled kernels are kept on a CPU, and what they hold."""

import os
import subprocess
import sys

import pytest

from finevit import kernels

EVERY_NAME = [name for names in kernels.CACHES for name in names]
CLEAN = {name: value for name, value in os.environ.items() if name not in EVERY_NAME}


@pytest.mark.parametrize("given", [*[{name: "7"} for name in EVERY_NAME], {}])
def test_the_users_variable_counts(given, monkeypatch):
    for name in EVERY_NAME:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    kernels.bound()
    told = {name: os.environ[name] for name in EVERY_NAME if name in os.environ}
    assert told == given | {names[0]: str(kernels.KEPT) for names in kernels.CACHES if not given.keys() & set(names)}


def test_importing_the_package_bounds_them_before_torch_is_loaded():
    code = f"import sys, os, finevit; print(*[os.environ[n[0]] for n in {kernels.CACHES}], 'torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], env=CLEAN, check=True, capture_output=True, text=True).stdout
    assert told.split() == [str(kernels.KEPT)] * 2 + ["False"]


PRODUCTS = """
import finevit, torch
from finevit.planning.memory import held
def products(sizes):
    for size in sizes:
        torch.ones(size, 64, dtype=torch.bfloat16) @ torch.ones(64, 64, dtype=torch.bfloat16)
    return held(torch.device("cpu"))
first, full, more = (products(range(*sizes)) for sizes in ((99, 100), (100, 612), (612, 1124)))
print(full - first, more - full)
"""


def test_products_of_ever_new_sizes_hold_no_more_memory_than_full_caches():
    told = subprocess.run([sys.executable, "-c", PRODUCTS], env=CLEAN, check=True, capture_output=True, text=True).stdout
    filled, more = (int(each) / 2**20 for each in told.split())
    assert more < 110, f"{filled:.0f} MiB for 512 sizes, {more:.0f} for 512 more"
