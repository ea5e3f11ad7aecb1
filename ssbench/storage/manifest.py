"""The manifest of a finished folder: sizes and checksums of its files, written last."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssbench.errors import DamagedError
from ssbench.storage.files import checksum

MANIFEST = "manifest.json"
REMEDY = "run the experiment again to compute it again"


class File(BaseModel):
    """The size and SHA-256 of one file."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """The files of a folder. No key is optional, so that a flipped bit in this text shows.

    Attributes:
        folder: the subfolder of the files; empty: beside the manifest. An object store cannot
            rename folders, so there a manifest points to what is complete.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    format: Annotated[int, Field(ge=1, le=1)]
    folder: Annotated[str, Field(pattern="^[a-z0-9-]*$")]
    files: dict[str, File]

    @classmethod
    def of(cls, folder: Path, inside: str = "") -> Manifest:
        """Describe all files of a folder."""
        files = {
            path.name: File(bytes=path.stat().st_size, sha256=checksum(path))
            for path in sorted(folder.iterdir())
        }
        return cls(format=1, folder=inside, files=files)

    @classmethod
    def parse(cls, content: bytes, place: str) -> Manifest:
        """Read a manifest.

        Raises:
            DamagedError: it is not a manifest.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise DamagedError(f"{place}/{MANIFEST}", "damaged", REMEDY) from error

    def check(self, name: str, content: bytes, place: str) -> None:
        """Verify a file.

        Raises:
            DamagedError: it was altered; names ``place``.
        """
        if name not in self.files:
            raise DamagedError(f"{place}/{MANIFEST}", f"damaged (it lacks {name})", REMEDY)
        expected = self.files[name]
        if len(content) != expected.bytes:
            what = f"damaged ({len(content):,} bytes instead of {expected.bytes:,})"
            raise DamagedError(f"{place}/{name}", what, REMEDY)
        if hashlib.sha256(content).hexdigest() != expected.sha256:
            what = "damaged (its SHA-256 differs from the manifest's)"
            raise DamagedError(f"{place}/{name}", what, REMEDY)
