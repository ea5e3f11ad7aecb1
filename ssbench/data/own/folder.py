"""A folder of images by class as a data set, in memory or on disk; ImageNet is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ssbench.data.dataset import DataSet, Split
from ssbench.data.image_folder import Files
from ssbench.data.own.assemble import Parts, asked_size, assemble, sized
from ssbench.data.own.decoded import FOLDER, MixedSizesError, Pictures, decoded
from ssbench.data.own.layout import Folder, splits
from ssbench.data.own.settings import Request
from ssbench.data.own.sizes import all_sizes, first_size, spread
from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.errors import BadInputError

SMALL = 128
"""Pixels of the longer side: smaller images of one size keep it by default."""
FITS = 2 << 30
"""Bytes of decoded images that stay in memory by default. Images in memory are augmented in another
way than those on disk, so this must not depend on the machine."""


def imagenet(request: Request) -> DataSet:
    """ImageNet-1k, 224 pixels (Russakovsky et al. 2015): 1,271,167 / 10,000 / 50,000.

    It needs an account at image-net.org, so ssbench cannot fetch it: unpack it to
    ``ROOT/imagenet/train/CLASS/*.JPEG`` and ``ROOT/imagenet/val/CLASS/*.JPEG``.
    """
    request.refuse(("validation", "test", "seed"), "ImageNet has a test split of its own")
    request.refuse(("memory",), "ImageNet does not fit into memory")
    return folder(replace(request, path=request.keep / "imagenet", plain=True))


def folder(request: Request) -> DataSet:
    """Open a folder of images by class.

    Raises:
        BadInputError: the folder is not laid out as `ssbench.data.own.layout` says, or its images
            do not have the size that ``data.size`` asks for.
    """
    request.refuse(("image", "label"), "only a saved data set has columns")
    found = splits(request)
    files = (found.train, found.validation, found.test)
    how, native = _size(files, request)
    if _in_memory(files, how, native, request):
        try:
            return assemble(request, _in_one_array(found, how, native, request))
        except MixedSizesError:
            if request.settings.size == "native":
                raise _mixed(files, request) from None
            how = STANDARD
            if request.settings.memory is True:
                return assemble(request, _in_one_array(found, how, False, request))
            found = _enlarged(found, request)
    elif native and len(all_sizes(files)) > 1:
        if request.settings.size == "native":
            raise _mixed(files, request)
        how, found = STANDARD, _enlarged(found, request)
    return assemble(request, _on_disk(found, how, request))


def _size(files: Sequence[Files], request: Request) -> tuple[Preprocessing, bool]:
    """Return the size to prepare for, and whether images must have it already."""
    asked = asked_size(request.settings)
    if asked:
        return asked, False
    if request.plain and request.settings.size == "auto":
        return STANDARD, False
    first = first_size(files[0])
    if first and (max(first) <= SMALL or request.settings.size == "native"):
        return sized(first), True
    return STANDARD, False


def _in_memory(files: Sequence[Files], how: Preprocessing, native: bool, request: Request) -> bool:
    """Whether the decoded images stay in memory."""
    asked = request.settings.memory
    if asked != "auto":
        return asked
    height, width = how.shape
    fits = sum(map(len, files)) * 3 * height * width <= FITS
    return fits and (native or asked_size(request.settings) is not None) and not request.plain


def _in_one_array(found: Folder, how: Preprocessing, native: bool, request: Request) -> Parts:
    parts = []
    for files in (found.train, found.validation, found.test):
        made = decoded(Pictures.of(files), how, request.keep, native=native)
        vars(files)["found"] = made.found  # else it would be decoded again
        parts.append(Split(made.images, files.labels))
    facts = {"size": "native"} if native else how.facts()
    return replace(
        _on_disk(found, how, request),
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        facts={"source": "folder", **facts, **_sources(found, request)},
        places=(request.path, request.keep / FOLDER),
        origin=(found.train, found.validation, found.test),
    )


def _on_disk(found: Folder, how: Preprocessing, request: Request) -> Parts:
    train, validation, test = (
        replace(files, preprocessing=how) for files in (found.train, found.validation, found.test)
    )
    facts = {"source": "folder", **_sources(found, request)}
    return Parts(found.classes, train, validation, test, facts, found.remarks)


def _sources(found: Folder, request: Request) -> dict[str, str | float | int]:
    drawn = any(isinstance(source, float) for source in found.sources.values())
    return {**found.sources, **({"seed": request.settings.seed} if drawn else {})}


def _enlarged(found: Folder, request: Request) -> Folder:
    """Add a remark that small images of several sizes are enlarged."""
    sizes = spread(all_sizes((found.train, found.validation, found.test)))
    note = (
        f"{request.place}: the images have {sizes} pixels, and are resized to {STANDARD.crop}; "
        "data.size = N keeps them small and in memory"
    )
    return replace(found, remarks=(*found.remarks, note))


def _mixed(files: Sequence[Files], request: Request) -> BadInputError:
    return BadInputError(
        f"{request.key('size')}: native images must have one size, but they have "
        f"{spread(all_sizes(files))}; write size = N or [height, width]"
    )
