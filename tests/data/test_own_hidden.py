"""Test images of one's own stay out of sight of a method from elsewhere."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssbench.data.own.settings import DataSettings
from ssbench.data.registry import open_dataset, open_same
from ssbench.errors import BadInputError
from tests.data.test_own_arrays import kept
from tests.data.test_own_folders import made

SCRIPT = """
import json, sys
from pathlib import Path
from ssbench.data import held_back
from ssbench.data.own.settings import DataSettings
from ssbench.data.without_test import open_without_test

def reads(path):
    try:
        with open(path, "rb"):
            return "open"
    except held_back.HeldBackError:
        return "hidden"

found = {}
for name, settings, paths in json.loads(sys.stdin.read()):
    root = Path(sys.argv[1])
    dataset = open_without_test(name, root, "outsider", DataSettings(**settings))
    said = {path: reads(path) for path in paths}
    said["kept"] = {reads(path) for path in (root / "decoded").glob("*")} == {"hidden"}
    with dataset.test.opened() as test:
        said["count"] = [len(test), dataset.test.count]
        said["while open"] = reads(paths[0])
    said["origin"] = dataset.origin is None
    said["after"] = reads(paths[0])
    found[f"{name} {settings}"] = said
    held_back._SEAL.closed = False
print(json.dumps(found))
"""


def looked_at(cases: list[tuple[str, dict[str, Any], list[Path]]], root: Path) -> dict[str, Any]:
    given = json.dumps([(n, s, [str(path) for path in paths]) for n, s, paths in cases])
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root)], input=given, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return {name: {Path(k).name: v for k, v in said.items()} for name, said in found.items()}


def test_files_with_test_images_cannot_be_opened(tmp_path: Path) -> None:
    sets = tmp_path / "sets"
    small, large = made(tmp_path / "small", {"": 10}), made(tmp_path / "large", {"": 10}, (140, 9))
    arrays = tmp_path / "x.npz"
    images, labels = np.zeros((40, 4, 4), np.uint8), np.arange(40) % 2
    np.savez(arrays, x_train=images, y_train=labels)
    np.save(tmp_path / "x.npy", images)
    function = tmp_path / "my_data.py"
    function.write_text(
        "import numpy as np\ndef load():\n"
        f"    return {{'x_train': np.load({str(tmp_path / 'x.npy')!r}), 'y_train': [0, 1] * 20}}\n"
    )
    saved = kept(tmp_path, {"": 20})
    files = open_dataset(f"imagefolder:{large}", sets).test.paths
    outside = tmp_path / "elsewhere.png"
    (large / files[0]).rename(outside)
    (large / files[0]).symlink_to(outside)
    trained = open_dataset(f"imagefolder:{large}", sets).train.paths
    cases: list[tuple[str, dict[str, Any], list[Path]]] = [
        (f"imagefolder:{small}", {}, [small / "cat/00.png", small / "dog/07.png"]),
        (f"imagefolder:{large}", {}, [outside, large / trained[0]]),
        (f"npz:{arrays}", {}, [arrays]),
        (f"{function}:load", {}, [tmp_path / "x.npy", function]),
        (f"hf:{saved}", {}, [saved / "data-00000-of-00001.arrow"]),
    ]
    found = list(looked_at(cases, sets).values())
    assert [said["count"] for said in found] == [[2, 2], [2, 2], [4, 4], [4, 4], [2, 2]]
    for said in found:
        assert said["while open"] == "open"
        assert said["after"] == "hidden"
        assert said["origin"]
    memory, disk, npz, called, hf = found
    assert memory["00.png"] == memory["07.png"] == "hidden"
    assert memory["kept"]
    assert disk[Path(trained[0]).name] == "open"  # training reads it
    assert disk["elsewhere.png"] == npz["x.npz"] == called["x.npy"] == "hidden"
    assert called["my_data.py"] == "open"  # the method may lie in the same file
    assert hf["data-00000-of-00001.arrow"] == "hidden"
    assert hf["kept"]


def test_a_function_that_returns_something_else_each_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my_data.py"
    path.write_text(
        "import numpy as np\ndef load():\n    images = np.random.rand(40, 4, 4)\n"
        "    return {'x_train': images, 'y_train': [0, 1] * 20}\n"
    )
    name = f"{path}:load"
    first = open_dataset(name, tmp_path).fingerprint
    with pytest.raises(BadInputError, match="gives other images or labels than at the start"):
        open_same(name, tmp_path, DataSettings(), first)
