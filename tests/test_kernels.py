"""How many compiled kernels oneDNN keeps."""

import os
import subprocess
import sys

import pytest

from finevit import kernels


@pytest.mark.parametrize("given", [{}, {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}, {"DNNL_PRIMITIVE_CACHE_CAPACITY": "7"}])
def test_the_users_variable_counts(given, monkeypatch):
    for name in kernels.NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    kernels.bound()
    told = {name: os.environ[name] for name in kernels.NAMES if name in os.environ}
    assert told == (given or {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": str(kernels.KEPT)})


def test_importing_the_package_bounds_them_before_torch_is_loaded():
    code = f"import sys, os, finevit; print(os.environ['{kernels.NAMES[0]}'], 'torch' in sys.modules)"
    clean = {name: value for name, value in os.environ.items() if name not in kernels.NAMES}
    told = subprocess.run([sys.executable, "-c", code], env=clean, check=True, capture_output=True, text=True).stdout
    assert told.split() == [str(kernels.KEPT), "False"]
