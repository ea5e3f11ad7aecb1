"""Rows measured on different images: never in one table, never judged, and always said."""

import json
from pathlib import Path

import pytest

from ssbench.analysis.claims import Claim, settle
from ssbench.analysis.compare_folders import changes
from ssbench.analysis.compare_rows import receipt
from ssbench.analysis.merge import merge
from ssbench.analysis.rows import make_rows
from ssbench.report.page import make_merged_page
from ssbench.storage.records import read_runs
from tests.support.records import Folder, folder

__all__ = ["folder"]
ONE, OTHER = "1111111122222222", "3333333344444444"
PHOTOS = {"dataset": "imagefolder:x"}


def tables(folder: Folder) -> dict[str, set[str]]:
    """By title, the names of a table's rows."""
    return {section.title: {row.name for row in section.rows} for section in folder.page().sections}


def said(folder: Folder) -> str:
    """All warnings of a page and its tables."""
    page = folder.page()
    return " ".join([*page.warnings, *(w for s in page.sections for w in s.table.warnings)])


def test_rows_of_different_images_share_no_table(folder: Folder) -> None:
    for label, images in (("a", ONE), ("b", ONE), ("c", OTHER)):
        folder.row(label, [1, 1.1, 1.2], data_fingerprint=images, **PHOTOS)
    assert tables(folder) == {
        "vgg6 on imagefolder:x [images 11111111]": {"a", "b"},
        "vgg6 on imagefolder:x [images 33333333]": {"c"},
    }
    (warning,) = folder.page().warnings
    assert warning.startswith("imagefolder:x: these records were measured on different images")
    assert "fingerprints 11111111, 33333333" in warning
    assert "data_fingerprint" in folder.render()["csv"]


def test_the_same_images_are_said_only_where_records_say_so(folder: Folder) -> None:
    same = "All seeds were tested on the same 5,000 images."

    def limits() -> str:
        return " ".join(folder.page().limits)

    folder.row("a", [1, 1.1, 1.2], data_fingerprint=ONE)
    folder.row("b", [2, 2.1, 2.2], data_fingerprint=ONE)
    assert same in limits()
    assert said(folder) == ""
    folder.row("older", [2, 2.1, 2.2])
    assert same not in limits()
    assert "Every seed was tested on 5,000 images; not all records say which ones." in limits()
    assert "do not name their images: older." in said(folder)
    folder.row("c", [2, 2.1, 2.2], data_fingerprint=OTHER, **PHOTOS)
    assert f"digits: {same}" not in limits()
    assert f"imagefolder:x: {same}" in limits()


def test_a_test_split_that_ssbench_chose_is_said(folder: Folder) -> None:
    folder.row("a", [1, 1.1, 1.2], data_fingerprint=ONE, data={"test": 0.1}, **PHOTOS)
    folder.row("b", [1, 1.1, 1.2], data_fingerprint=ONE, data={"test": 0.1}, **PHOTOS)
    limits = " ".join(folder.page().limits)
    assert limits.count("ssbench chose them at random, 10 % of each class.") == 1


def test_older_records_among_themselves_need_no_warning(folder: Folder) -> None:
    folder.row("a", [1, 1.1, 1.2])
    folder.row("b", [2, 2.1, 2.2])
    assert said(folder) == ""
    assert "All seeds were tested on the same" not in " ".join(folder.page().limits)


def test_claims_compare_no_rows_of_different_images(folder: Folder) -> None:
    folder.row("a", [1, 1.1, 1.2], data_fingerprint=ONE, **PHOTOS)
    folder.row("b", [9, 9.1, 9.2], data_fingerprint=OTHER, **PHOTOS)
    rows, _ = make_rows(read_runs(folder.path))
    (settled,) = settle([Claim(says="a is better", better="a", than="b")], rows)
    assert settled.ending == "undecided"
    assert "[images 11111111] and on imagefolder:x [images 33333333]" in settled.why


def folders(tmp_path: Path, second: str | None, **changed: object) -> list[Path]:
    found = []
    for name, images in (("one", ONE), ("two", second)):
        path = tmp_path / name
        path.mkdir()
        more = changed if name == "two" else {}
        Folder(path).row(
            name, [1, 1.1, 1.2], experiment=name, data_fingerprint=images, **PHOTOS | more
        )
        (path / "experiment.json").write_text(json.dumps({"name": name, "data": images}))
        found.append(path)
    return found


@pytest.mark.parametrize(
    ("images", "parts", "warns"),
    [(ONE, 1, ""), (OTHER, 2, "on different images"), (None, 1, "do not name their images: two")],
)
def test_folders_are_merged_by_their_images(
    tmp_path: Path, images: str | None, parts: int, warns: str
) -> None:
    page = make_merged_page(merge(folders(tmp_path, images)))
    assert len(page.sections) == parts
    said = " ".join([*page.warnings, *(w for s in page.sections for w in s.table.warnings)])
    assert (warns in said) if warns else not said


def test_folders_are_merged_by_their_preprocessing(tmp_path: Path) -> None:
    how = {"resize": [256], "crop": 224, "interpolation": "bicubic"}
    scale = {"mean": [123.675, 116.28, 103.53], "sd": [58.395, 57.12, 57.375]}
    merged = merge(folders(tmp_path, ONE, preprocessing=how, **scale))
    ((_, second),) = merged.parts.values()
    assert second.folders == ("two",)
    assert "preprocessing (" in merged.warnings[0]
    assert "resized to 256, cut to 224, bicubic, mean 124 / 116 / 104" in merged.warnings[0]


def test_what_older_versions_did_is_what_records_now_say(tmp_path: Path) -> None:
    how = {"resize": [256], "crop": 224, "interpolation": "bilinear"}
    scale = {"mean": [123.675, 116.28, 103.53], "sd": [58.395, 57.12, 57.375]}
    merged = merge(folders(tmp_path, ONE, preprocessing=how, **scale))
    assert [len(parts) for parts in merged.parts.values()] == [1]


def test_a_comparison_of_rows_names_other_images_and_judges_nothing(tmp_path: Path) -> None:
    first, second = (make_rows(read_runs(path))[0][0] for path in folders(tmp_path, OTHER))
    found = receipt(first, second)
    assert ("images (fingerprint)", ONE, OTHER) in {
        (item.what, item.first, item.second) for item in found.differences
    }
    assert found.verdict is None
    assert receipt(first, first).verdict is not None


def test_a_comparison_of_folders_names_other_images(tmp_path: Path) -> None:
    one, two = folders(tmp_path, OTHER)
    found = changes(*(make_rows(read_runs(path))[0] for path in (one, two)), (one, two))
    assert "images: imagefolder:x 11111111 -> imagefolder:x 33333333" in found.conditions


def test_rows_equal_to_the_last_digit_are_named(folder: Folder) -> None:
    """Whatever sets them apart changes nothing: an alias, or a setting without effect."""
    for label, curve in (("a", [1.5, 0.25]), ("b", [1.5, 0.25]), ("c", [1.5, 0.26])):
        folder.row(label, [1, 1.1, 1.2], curve_loss=curve)
    warnings = folder.page().sections[0].table.warnings
    assert any(text.startswith("a, b (50 % of params): the same results") for text in warnings)
    assert not any("c" in text.split(" (")[0].split(", ") for text in warnings)
