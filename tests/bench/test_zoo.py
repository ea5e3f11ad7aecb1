"""A sample of the networks that `bench.zoo` pushes through everything."""

from pathlib import Path

import pytest

from bench import zoo, zoo_table

SAMPLE = {  # grouped convolutions, norms with an activation inside, self-attention, a refused one
    "timm:regnetx_002": "works",
    "timm:lcnet_035": "works",
    "timm:edgenext_xx_small": "partly",
    "timm:efficientvit_m0": "refused",
}


def test_there_are_many_networks_each_once() -> None:
    assert len(set(zoo.NAMES)) == len(zoo.NAMES) >= 80
    assert SAMPLE.keys() <= set(zoo.NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_network_of_the_zoo(name: str) -> None:
    pytest.importorskip("timm")
    line = zoo.examine(name)
    assert (line.verdict, line.difference < 1e-5) == (SAMPLE[name], True), line.reason


def test_lines_are_kept_beside_the_table(tmp_path: Path) -> None:
    file = tmp_path / "zoo.md"
    assert zoo_table.read(file) == {}
    lines = [
        zoo_table.Line("a", "works", params=7, shares={"filters": 0.5, "slimming": 0.998}),
        zoo_table.Line("b", "refused", "no layer | no mask"),
    ]
    lines[0].off = ["slimming"]
    zoo_table.write(lines, file)
    assert list(zoo_table.read(file).values()) == lines
    text = file.read_text()
    assert "2 networks: works 1, partly 0, refused 1, wrong 0." in text
    assert r"| 50.0 | - | 99.8\* | - |" in text
    assert r"no layer \| no mask" in text
