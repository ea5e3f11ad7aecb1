"""Where the package is, and the folders that ship with it and that people edit."""

from __future__ import annotations

from pathlib import Path


def package_folder() -> Path:
    """The folder of the package itself."""
    return Path(__file__).parent


def checkout() -> Path | None:
    """The checkout that ssbench runs from; None where it is installed from a wheel."""
    root = package_folder().parent
    return root if (root / ".git").exists() else None


DISTRIBUTION = "ssbench-pruning"
"""The name to install by: ``ssbench`` on the package index belongs to another project."""


def install(extra: str) -> str:
    """Return the command that installs the packages of an extra of pyproject.toml.

    >>> install("onnx") in ("uv sync --extra onnx", "pip install 'ssbench-pruning[onnx]'")
    True
    """
    if checkout():
        return f"uv sync --extra {extra}"
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def bench_folder() -> Path:
    """The folder of the experiments and published figures, in a checkout or a wheel."""
    return _shipped("bench")


def method_folder() -> Path:
    """The folder of the methods that ship with ssbench, in a checkout or a wheel."""
    return _shipped("methods")


def _shipped(name: str) -> Path:
    inside = package_folder() / name
    return inside if inside.is_dir() else package_folder().parent / name
