"""Arrays of images as a data set: the rules for layouts, values and labels.

x_train, y_train    x_val, y_val (optional)    x_test, y_test (optional)    layout (optional)

Images are [N, H, W] (grey), [N, H, W, C] or [N, C, H, W]; their values are whole numbers 0 to 255,
or floats from 0 to 1 or from 0 to 255. They are stored with 8 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssbench.data.dataset import Split
from ssbench.data.own.assemble import Parts
from ssbench.data.own.divide import TEST, TRAIN, VALIDATION, chosen, divide
from ssbench.data.own.settings import SHARE, Request
from ssbench.errors import BadInputError, nearest

Array = NDArray[Any]
Pair = tuple[Array, Array]
"""Images and labels."""
SPLITS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
KNOWN = (*(f"{axis}_{split}" for split in SPLITS for axis in "xy"), "layout")
GREY_OR_COLOUR, MOST_CHANNELS = (1, 3), 16
"""Channels are the axis with one of these numbers of values if only one axis has; otherwise the one
with at most 16, if only one has."""
LAYOUTS = ("NHWC", "NCHW")


def arrays(found: Mapping[str, Any], request: Request, source: str) -> Parts:
    """Make splits of named arrays.

    Args:
        found: arrays by name, as the module's docstring says.
        request: the settings.
        source: the kind of data set, for records.

    Raises:
        BadInputError: an array is missing, unknown, or breaks a rule; names it.
    """
    place = request.place
    request.refuse(("image", "label"), "only a saved data set has columns")
    if request.settings.memory is False:
        raise BadInputError(f"{request.key('memory')}: arrays are always in memory; remove the key")
    pairs = _pairs(found, place)
    layout = _layout(pairs, found.get("layout"), place)
    images, notes = _pixels({s: _upright(x, layout) for s, (x, _) in pairs.items()}, place)
    _same_size(images, request)
    labels, classes = positions({split: y for split, (_, y) in pairs.items()}, place)
    whole = {split: (images[split], labels[split]) for split in images}
    return in_splits(whole, classes, request, {"source": source}, tuple(notes))


def in_splits(
    whole: Mapping[str, Pair],
    classes: list[str],
    request: Request,
    facts: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> Parts:
    """Make three splits; chooses those that are missing from the training images.

    Args:
        whole: uint8 images [N, C, H, W] and labels [N] by ``train``, ``val`` and ``test``.
        classes: their names.
        request: the settings.
        facts: how the images were prepared, for records.
        notes: what a user should know.

    Raises:
        BadInputError: a share is asked for, but the data have the split, or nothing is left for
            one.
    """
    shares = _shares(whole, request)
    images, labels = whole["train"]
    parts = divide(labels, shares.get("val", 0), shares.get("test", 0), request.settings.seed)
    found = {}
    for split, code in SPLITS.items():
        own = split in whole and split != "train"
        pair = whole[split] if own else (images[parts == code], labels[parts == code])
        if not len(pair[1]):
            raise BadInputError(
                f"{request.place}: too few images of each class, so none can be held out for "
                f"{split}; add some"
            )
        found[split] = Split(torch.from_numpy(pair[0]), torch.from_numpy(pair[1]))
    said = {"validation": shares.get("val", "val"), "test": shares.get("test", "test")}
    seed = {"seed": request.settings.seed} if shares else {}
    return Parts(
        classes,
        found["train"],
        found["val"],
        found["test"],
        {**facts, **said, **seed},
        (*notes, *chosen(shares, request.settings.seed, request.place)),
    )


def _shares(whole: Mapping[str, Pair], request: Request) -> dict[str, float]:
    shares = {}
    for split, key in (("val", "validation"), ("test", "test")):
        asked = getattr(request.settings, key)
        if split not in whole:
            shares[split] = SHARE if asked is None else asked
        elif asked is not None:
            raise BadInputError(
                f"{request.key(key)}: the data have a split {split}; remove the key or the split"
            )
    return shares


def _pairs(found: Mapping[str, Any], place: str) -> dict[str, Pair]:
    for name in found:
        if name not in KNOWN:
            raise BadInputError(f"{place}: unknown array {name!r}; {nearest(name, KNOWN)}")
    pairs = {}
    for split in SPLITS:
        names = (f"x_{split}", f"y_{split}")
        there = [name for name in names if name in found]
        if not there and split != "train":
            continue
        if len(there) < 2:
            (missing, *_) = [name for name in names if name not in found]
            raise BadInputError(f"{place}: {missing} is missing; add it")
        images, labels = (_array(found[name], f"{place}: {name}") for name in names)
        if images.ndim not in (3, 4) or not images.size:
            raise BadInputError(
                f"{place}: x_{split} has the shape {list(images.shape)}; expected [N, H, W], "
                "[N, H, W, C] or [N, C, H, W]"
            )
        pairs[split] = (images, _flat(labels, f"{place}: y_{split}"))
        if len(images) != len(labels):
            raise BadInputError(
                f"{place}: y_{split} has {len(labels)} labels for {len(images)} images"
            )
    return pairs


def _array(value: Any, place: str) -> Array:
    """Return an array or tensor as numpy's.

    Raises:
        BadInputError: it has no numbers or texts.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise BadInputError(f"{place}: no array ({error}); all images need one size") from error
    if array.dtype.kind not in "buifUS":
        raise BadInputError(
            f"{place}: values of type {array.dtype}; expected whole numbers, floats or texts"
        )
    return array


def _flat(labels: Array, place: str) -> Array:
    """Return labels [N] from [N], [N, 1] or one-hot [N, K]."""
    if labels.ndim == 1:
        return labels
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "buif":
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()
        if one_hot:
            return np.asarray(labels.argmax(1))
    raise BadInputError(
        f"{place} has the shape {list(labels.shape)}; expected one label per image, [N] or [N, 1], "
        "or one-hot rows [N, classes]"
    )


def _layout(pairs: Mapping[str, Pair], said: Any, place: str) -> str:
    """Return ``NHW``, ``NHWC`` or ``NCHW``.

    Raises:
        BadInputError: it is not the same for all, or cannot be told.
    """
    shapes = {split: images.shape for split, (images, _) in pairs.items()}
    if len({shape[1:] for shape in shapes.values()}) > 1:
        listed = ", ".join(f"x_{split} {list(shape)}" for split, shape in shapes.items())
        raise BadInputError(f"{place}: images of different shapes: {listed}; give all one size")
    shape = shapes["train"]
    if len(shape) == 3:
        return "NHW"
    if said is not None:
        if str(said) not in LAYOUTS:
            raise BadInputError(
                f"{place}: layout is {str(said)!r}; expected {' or '.join(LAYOUTS)}"
            )
        return str(said)
    for usual in (lambda n: n in GREY_OR_COLOUR, lambda n: n <= MOST_CHANNELS):
        if usual(shape[3]) != usual(shape[1]):
            return "NHWC" if usual(shape[3]) else "NCHW"
    raise BadInputError(
        f"{place}: x_train has the shape {list(shape)}, and either axis may be the channels; add "
        "the text layout = 'NHWC' or 'NCHW' beside the arrays"
    )


def _upright(images: Array, layout: str) -> Array:
    """Return images as [N, C, H, W]."""
    if layout == "NHW":
        return images[:, None]
    return images.transpose(0, 3, 1, 2) if layout == "NHWC" else images


def _pixels(images: Mapping[str, Array], place: str) -> tuple[dict[str, Array], list[str]]:
    """Return values 0 to 255 with 8 bits, and what was done to them.

    Raises:
        BadInputError: values lie elsewhere, so that black and white are unknown.
    """
    kinds = {array.dtype.kind for array in images.values()}
    if kinds & set("US") or len({kind == "f" for kind in kinds}) > 1:
        types = ", ".join(f"x_{split} {array.dtype}" for split, array in images.items())
        raise BadInputError(f"{place}: images are numbers of one type (found {types})")
    low = min(array.min() for array in images.values())
    high = max(array.max() for array in images.values())
    if kinds == {"b"}:
        return {s: _stored(a * np.uint8(255)) for s, a in images.items()}, []
    if not (low >= 0 and high <= 255):
        raise BadInputError(
            f"{place}: images have values from {low:g} to {high:g}, so black and white are "
            "unknown; save whole numbers from 0 to 255, or floats from 0 to 1"
        )
    if kinds != {"f"}:
        return {split: _stored(array) for split, array in images.items()}, []
    white = 255 if high <= 1 else 1
    made = {split: _stored(np.rint(array * np.float32(white))) for split, array in images.items()}
    note = f"{place}: floats from {low:g} to {high:g} are stored with 8 bits, white is "
    return made, [note + ("1" if white == 255 else "255")]


def _stored(images: Array) -> Array:
    return np.ascontiguousarray(images).astype(np.uint8, copy=True)


def _same_size(images: Mapping[str, Array], request: Request) -> None:
    """Refuse a size that arrays do not have."""
    size = request.settings.size
    there = list(images["train"].shape[2:])
    wanted = [size, size] if isinstance(size, int) else size
    if isinstance(wanted, list) and wanted != there:
        raise BadInputError(
            f"{request.key('size')}: arrays are not resized, and these images are {there[0]} x "
            f"{there[1]}; resize them before they are saved, or remove the key"
        )


def positions(labels: Mapping[str, Array], place: str) -> tuple[dict[str, Array], list[str]]:
    """Return labels as positions in the sorted classes of the training images, and their names.

    Raises:
        BadInputError: a label is no whole number or text, there is one class, or training lacks
            one.
    """
    for split, values in labels.items():
        if values.dtype.kind == "f" and not (values == np.rint(values)).all():
            raise BadInputError(f"{place}: y_{split} has labels that are no whole numbers")
    known = np.unique(labels["train"])
    if len(known) < 2:
        raise BadInputError(f"{place}: y_train names {len(known)} class; need two")
    made = {}
    for split, values in labels.items():
        unknown = sorted(set(np.unique(values).tolist()) - set(known.tolist()))
        if unknown:
            raise BadInputError(
                f"{place}: y_{split} names the class {unknown[0]!r}, of which x_train has no image"
            )
        made[split] = np.searchsorted(known, values).astype(np.int64)
    return made, [_name(value) for value in known.tolist()]


def _name(label: object) -> str:
    if isinstance(label, float):
        return str(int(label))
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)
