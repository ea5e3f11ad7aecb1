"""The files of a folder of images by class: images, and others, which are reported or ignored.

A class has all images below its folder. Links are followed. Names with a leading dot and leftovers
of file managers and archives are ignored.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ssbench.data.picture import shown
from ssbench.errors import BadInputError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
LITTER = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "@eadir"})
SHOWN = 5
"""The largest number of names in a message."""


@dataclass
class Tree:
    """The images of a part by class, relative to the root, and the other files.

    Attributes:
        classes: in alphabetical order, with their paths in alphabetical order.
        others: files whose names are not those of images.
    """

    classes: dict[str, list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def has_folders(folder: Path, place: str) -> bool:
    """Whether a folder has a folder inside, and so may be a part with classes."""
    return folder.is_dir() and any(_is_folder(entry, place) for entry in _entries(folder, place))


def read_tree(root: Path, part: str, place: str) -> Tree:
    """Find the classes of a part and their images; an empty part is the whole folder.

    Raises:
        BadInputError: an image without a class, a class without an image, a broken or circular
            link, an unreadable folder, or fewer than two classes; names it.
    """
    tree = Tree()
    for entry in _entries(root / part, place):
        path = f"{part}/{entry.name}".lstrip("/")
        if not _is_folder(entry, place):
            if _is_image(path):
                raise BadInputError(
                    f"{place}: {shown(root / path)} belongs to no class; move it into its "
                    f"class's folder below {shown(root / part)}"
                )
            tree.others.append(path)
            continue
        below = list(_below(root, path, place))
        images = [found for found in below if _is_image(found)]
        tree.others += [found for found in below if not _is_image(found)]
        if not images:
            raise BadInputError(
                f"{place}: {shown(root / path)} holds no image ({', '.join(SUFFIXES)}); add some, "
                "or remove the folder from every split"
            )
        tree.classes[entry.name] = images
    if len(tree.classes) < 2:
        raise BadInputError(
            f"{place}: {shown(root / part)} has {len(tree.classes)} folders of classes; need two"
        )
    return tree


def same_classes(train: Iterable[str], other: Iterable[str], part: str, place: str) -> None:
    """Check that the folders ``train`` and ``part`` have the same classes.

    Raises:
        BadInputError: names the classes that only one has, and similar ones of the other.
    """
    different = sorted(set(train) ^ set(other))
    if not different:
        return
    names = ", ".join(map(repr, different[:SHOWN])) + (" …" if len(different) > SHOWN else "")
    hint = ""
    if alike(different):
        hint = "; some differ only in case or in how Unicode writes their accents: rename them"
    raise BadInputError(
        f"{place}: train and {part} have different classes: {names} is in one of them only{hint}"
    )


def alike(names: Iterable[str]) -> list[list[str]]:
    """Return groups of names that differ only in case or in Unicode's composition."""
    groups: dict[str, list[str]] = {}
    for name in names:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        groups.setdefault(key, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def remarks(root: Path, trees: Mapping[str, Tree], place: str) -> list[str]:
    """Describe unused files and folders, and classes with similar names.

    Args:
        root: the folder.
        trees: by the name of the part; an empty name is the whole folder.
        place: the key that names the folder.
    """
    lines = []
    others = [path for tree in trees.values() for path in tree.others]
    if others:
        kinds = Counter(Path(path).suffix.lower() or "no suffix" for path in others)
        suffixes = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(SHOWN))
        lines.append(
            f"{place}: ignored {len(others)} files without an image's name ({suffixes}), for "
            f"example {shown(Path(others[0]))}"
        )
    beside = [e.name for e in _entries(root, place) if e.name not in trees and e.is_dir()]
    if beside and "" not in trees:
        names = ", ".join(shown(Path(name)) for name in beside[:SHOWN])
        lines.append(f"{place}: uses only {' and '.join(trees)} of {shown(root)}, not {names}")
    for tree in trees.values():
        for group in alike(tree.classes):
            lines.append(f"{place}: {' and '.join(map(repr, group))} are different classes")
        break  # both parts have the same classes
    return lines


def _entries(folder: Path, place: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            kept = [e for e in entries if not _ignored(e.name)]
    except OSError as error:
        raise BadInputError(
            f"{place}: {shown(folder)} cannot be read ({error.strerror}); make it readable"
        ) from error
    return sorted(kept, key=lambda entry: entry.name)


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _below(root: Path, folder: str, place: str) -> Iterator[str]:
    """Yield every file below a folder in alphabetical order, relative to the root."""
    waiting: list[tuple[str, bool, tuple[tuple[int, int], ...]]] = [
        (folder, True, (_identity((root / folder).parent),))
    ]
    while waiting:
        path, is_folder, above = waiting.pop()
        if not is_folder:
            yield path
            continue
        own = _identity(root / path)
        if own in above:
            raise BadInputError(
                f"{place}: {shown(root / path)} is a link to a folder above it; remove it"
            )
        found = _entries(root / path, place)
        waiting += [
            (f"{path}/{e.name}", _is_folder(e, place), (*above, own)) for e in reversed(found)
        ]


def _is_folder(entry: os.DirEntry[str], place: str) -> bool:
    """Whether this is a folder or a link to one.

    Raises:
        BadInputError: a broken link.
    """
    if entry.is_symlink() and not (path := Path(entry.path)).exists():
        raise BadInputError(
            f"{place}: {shown(path)} is a link to {shown(path.readlink())}, which does not exist; "
            "put the images there or remove the link"
        )
    return entry.is_dir()


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _is_image(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)
