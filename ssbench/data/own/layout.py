"""The splits of a folder of images by class.

ROOT/CLASS/*.jpg, or the same below ROOT/train, ROOT/val (or valid, validation) and ROOT/test

A split without a folder is chosen at random from each class: see `ssbench.data.own.divide`. With
``val`` alone, as in ImageNet, ``val`` is the test split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ssbench.data.image_folder import Files
from ssbench.data.own.divide import TEST, TRAIN, VALIDATION, chosen, divide, lacking
from ssbench.data.own.settings import SHARE, Request
from ssbench.data.picture import shown
from ssbench.data.tree import SHOWN, Tree, has_folders, read_tree, remarks, same_classes
from ssbench.errors import BadInputError

HELD_OUT = 10
"""With ``val`` alone: the most training images of a class held out for validation by default."""
NAMES = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
"""The names of each split's folder."""
Items = list[tuple[str, int]]
"""Paths and classes."""


@dataclass(frozen=True)
class Folder:
    """The splits of a folder of images.

    Attributes:
        classes: their names; a label is a position here.
        sources: by split, the folder that it comes from, or the share that was chosen.
        remarks: what a user should know about it, each in one line.
    """

    classes: tuple[str, ...]
    train: Files
    validation: Files
    test: Files
    sources: Mapping[str, str | float]
    remarks: tuple[str, ...]


def splits(request: Request) -> Folder:
    """Find the classes, and the files for training, validation and test.

    Raises:
        BadInputError: a folder is missing or empty, their classes differ, or a setting contradicts
            the folders.
    """
    root, place = request.path, request.place
    parts = _parts(root, place)
    if request.plain and not {"train", "validation"} <= parts.keys():
        raise BadInputError(
            f"{place}: {shown(root)} lacks train or val; expected {shown(root)}/train/CLASS/*.JPEG "
            f"and {shown(root)}/val/CLASS/*.JPEG"
        )
    plan = _plan(request, parts)
    trees = {parts[role]: read_tree(root, parts[role], place) for role in parts}
    classes = trees[parts["train"]].classes
    for role in ("validation", "test"):
        if role in parts:
            same_classes(classes, trees[parts[role]].classes, parts[role], place)
    found: dict[str, Items] = {
        role: _items(trees[name]) for role, name in plan.items() if isinstance(name, str)
    }
    shares = {role: share for role, share in plan.items() if isinstance(share, float)}
    if plan["validation"] is None:
        found |= _as_imagenet(classes)
        notes = _single(classes, place)
        plan["validation"] = f"{parts['train']}, at most {HELD_OUT} of each class"
    else:
        divided, notes = _divided(found["train"], tuple(classes), shares, request)
        found |= divided
    _refuse_empty(found, parts["train"], request)
    train, validation, test = (_files(request, found[role]) for role in NAMES)
    sources = {role: source for role, source in plan.items() if source is not None}
    lines = (*remarks(root, trees, place), *notes)
    return Folder(tuple(classes), train, validation, test, sources, lines)


def _parts(root: Path, place: str) -> dict[str, str]:
    """Return the folders of the splits; ``train`` is empty if the whole folder is one."""
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise BadInputError(
            f"{place}: {shown(root)} {what}; expected {shown(root)}/CLASS/*.jpg, or "
            f"{shown(root)}/train/CLASS/*.jpg and the same below val or test"
        )
    found: dict[str, str] = {}
    for role, names in NAMES.items():
        there = [name for name in names if has_folders(root / name, place)]
        if len(there) > 1:
            raise BadInputError(
                f"{place}: {shown(root)} has both {' and '.join(there)}; keep one of them"
            )
        if there:
            found[role] = there[0]
    if found and "train" not in found:
        raise BadInputError(
            f"{place}: {shown(root / 'train')} is not a folder of classes, but "
            f"{' and '.join(found.values())} is there; expected {shown(root)}/train/CLASS/*.jpg"
        )
    return found or {"train": ""}


def _plan(request: Request, parts: Mapping[str, str]) -> dict[str, str | float | None]:
    """Return by split the folder that it comes from, or the share to choose.

    None for the validation images as `_as_imagenet` chooses them.

    Raises:
        BadInputError: a share is asked for, but there is a folder.
    """
    asked = request.settings
    only_val = "validation" in parts and "test" not in parts
    plan: dict[str, str | float | None] = {"train": parts["train"]}
    if only_val and asked.test is None:
        return plan | {"validation": asked.validation, "test": parts["validation"]}
    for role, share in (("validation", asked.validation), ("test", asked.test)):
        if role in parts and share is not None:
            raise BadInputError(
                f"{request.key(role)}: {shown(request.path / parts[role])} is the {role} split; "
                "remove the key or the folder"
            )
        plan[role] = parts.get(role, SHARE if share is None else share)
    return plan


def _as_imagenet(classes: Mapping[str, Sequence[str]]) -> dict[str, Items]:
    """Hold out a tenth of each class for validation, at least one image and at most `HELD_OUT`.

    Draws a fixed permutation (numpy's frozen RandomState, 0); a class of one image keeps it.
    """
    random = np.random.RandomState(0)
    train: Items = []
    validation: Items = []
    for label, paths in enumerate(classes.values()):
        order = random.permutation(len(paths))
        count = min(HELD_OUT, max(1, len(paths) // 10), len(paths) - 1)
        validation += [(paths[i], label) for i in sorted(order[:count])]
        train += [(paths[i], label) for i in sorted(order[count:])]
    return {"train": train, "validation": validation}


def _divided(
    items: Items, classes: Sequence[str], shares: Mapping[str, float], request: Request
) -> tuple[dict[str, Items], list[str]]:
    """Choose the splits that have no folder from the training images, and say so."""
    if not shares:
        return {}, []
    seed = request.settings.seed
    labels = np.array([label for _, label in items], np.int64)
    parts = divide(labels, shares.get("validation", 0), shares.get("test", 0), seed)
    codes = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    roles = ["train", *shares]
    found = {
        role: [item for item, part in zip(items, parts, strict=True) if part == codes[role]]
        for role in roles
    }
    notes = chosen(shares, seed, request.place)
    for role in shares:
        without = [classes[label] for label in lacking(labels, parts, codes[role])]
        if without:
            notes.append(f"{request.place}: too few images of {_listed(without)} for {role}")
    return found, notes


def _refuse_empty(found: Mapping[str, Items], train: str, request: Request) -> None:
    for role, items in found.items():
        if not items:
            raise BadInputError(
                f"{request.place}: the classes of {shown(request.path / train)} have too few "
                f"images, so none can be held out for {role}; add some"
            )


def _single(classes: Mapping[str, Sequence[str]], place: str) -> list[str]:
    single = [name for name, paths in classes.items() if len(paths) == 1]
    if not single:
        return []
    return [
        f"{place}: only one training image of {_listed(single)}: training uses it, and validation "
        "has none"
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (" …" if len(names) > SHOWN else "")


def _items(tree: Tree) -> Items:
    return [(path, label) for label, paths in enumerate(tree.classes.values()) for path in paths]


def _files(request: Request, items: Iterable[tuple[str, int]]) -> Files:
    listed = list(items)
    return Files(
        request.path,
        tuple(path for path, _ in listed),
        torch.tensor([label for _, label in listed]),
        plain=request.plain,
        keep=request.keep,
    )
