"""What `ssbench` offers in Python: every name is there, documented, and its examples run."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import ssbench
from tests.support.paths import ROOT

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
WITH_EXAMPLES = sorted(set(ssbench.__all__) - {"BadInputError", "load", "load_results"})


@pytest.mark.parametrize("name", ssbench.__all__)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    assert getattr(ssbench, name).__doc__
    assert f"::: ssbench.{name}\n" in (ROOT / "docs" / "api.md").read_text(), "docs/api.md"


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    names = {"ssbench": ssbench, "folder": tmp_path}
    every = doctest.DocTestFinder().find(getattr(ssbench, name), name, globs=names)
    found = [test for test in every if test.examples]
    assert found, f"{name} has no example"
    for test in found:
        report: list[str] = []
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
        assert report == [], "".join(report)


def test_the_import_is_light_and_names_are_listed() -> None:
    program = (
        "import sys, ssbench; print(sorted(dir(ssbench)));"
        "heavy = {'torch', 'pandas', 'numpy', 'altair', 'pydantic', 'rich', 'jinja2'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    listed, heavy = ended.stdout.splitlines()
    assert listed == str(sorted([*ssbench.__all__, "__version__"]))
    assert heavy == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'prun'"):
        ssbench.prun  # noqa: B018
