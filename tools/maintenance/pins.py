"""Print ``constraints.txt``: the version of every installed distribution that FineViT needs, directly or not.

NVIDIA's libraries and Triton are left out: PyTorch pins its own.
"""

from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEADER = """\
# The versions that were tested together. Written by `make pins`; bounds that the code needs are in setup.py.
"""
PINNED_BY_TORCH = ("nvidia-", "cuda-", "triton")


def needed(requirement: Requirement, found: dict[str, str]) -> None:
    """Add the distribution of ``requirement``, and all that it needs in turn, to ``found`` (name to version)."""
    name = canonicalize_name(requirement.name)
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return
    known, found[name] = name in found, installed.version
    if known and not requirement.extras:
        return
    for text in installed.requires or ():
        part = Requirement(text)
        if part.marker is None or any(part.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
            needed(part, found)


def main() -> None:
    """Print the pins in alphabetical order."""
    found: dict[str, str] = {}
    for text in ("finevit[dev]", "uv", "setuptools"):
        needed(Requirement(text), found)
    del found["finevit"]
    pins = [f"{name}=={version}" for name, version in sorted(found.items()) if not name.startswith(PINNED_BY_TORCH)]
    print(HEADER + "\n".join(pins))


if __name__ == "__main__":
    main()
