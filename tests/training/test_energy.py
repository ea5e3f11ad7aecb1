"""Energy counters: files in the format of Linux' powercap, and the place of the GPU's library."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from ssbench.training import energy
from ssbench.training.energy import Counter, metered, packages

RANGE = 262_143_328_850
"""Microjoules at which a package's counter wraps around."""


def zone(powercap: Path, number: str, name: str, microjoules: int) -> Path:
    """Write a zone's files as the kernel prints them."""
    folder = powercap / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return folder / "energy_uj"


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    files = [zone(tmp_path, "0", "package-0", 1_000_000), zone(tmp_path, "1", "package-1", 0)]
    zone(tmp_path, "0:0", "core", 5)
    zone(tmp_path, "0:1", "dram", 5)
    zone(tmp_path, "2", "psys", 5)
    (tmp_path / "intel-rapl").mkdir()
    found = packages(tmp_path)
    assert len(found) == 2
    for counter in found:
        counter.sample()
    files[0].write_text("3500000\n")
    files[1].write_text("250000\n")
    for counter in found:
        counter.sample()
    assert sum(counter.used for counter in found) == pytest.approx(2.75)


def test_a_counter_wraps_around_at_the_end_of_its_range(tmp_path: Path) -> None:
    file = zone(tmp_path, "0", "package-0", RANGE - 1_000_000)
    (counter,) = packages(tmp_path)
    for microjoules in (RANGE - 1_000_000, 500_000, RANGE - 2_000_000, 1_000_000):
        file.write_text(f"{microjoules}\n")
        counter.sample()
    assert counter.used == pytest.approx(RANGE / 1e6 + 2)


def test_a_counter_without_a_range_never_takes_back() -> None:
    values = iter((10.0, 12.0, 1.0))
    counter = Counter(lambda: next(values))
    for _ in range(3):
        counter.sample()
    assert counter.used == pytest.approx(3.0)


@pytest.mark.parametrize("content", [None, "", "no number\n"])
def test_what_cannot_be_read_is_not_known(
    tmp_path: Path, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = zone(tmp_path, "0", "package-0", 5)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    monkeypatch.setattr(energy, "packages", lambda: packages(tmp_path))
    with metered(torch.device("cpu")) as meter:
        pass
    assert meter.joules is None
    assert packages(tmp_path / "not there") == []


def test_a_block_is_measured_and_its_error_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = zone(tmp_path, "0", "package-0", RANGE - 500_000)
    monkeypatch.setattr(energy, "packages", lambda: packages(tmp_path))
    with metered(torch.device("cpu")) as meter:
        assert meter.joules is None
        file.write_text("1000000\n")
    assert meter.joules == pytest.approx(1.5)
    with pytest.raises(ZeroDivisionError), metered(torch.device("cpu")):
        raise ZeroDivisionError


def test_a_long_block_is_sampled_before_its_counter_wraps_around_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [0.0, 60.0, 20.0, 80.0, 40.0]
    counter = Counter(lambda: values.pop(0) if len(values) > 1 else values[0], 100.0)
    monkeypatch.setattr(energy, "packages", lambda: [counter])
    monkeypatch.setattr(energy, "INTERVAL", 0.001)
    with metered(torch.device("cpu")) as meter:
        while len(values) > 1:
            pass
    assert meter.joules == pytest.approx(240.0)


class Gpu:
    """What of nvidia-ml-py is used, without a GPU."""

    def __init__(self, *, broken: str = "") -> None:
        self.millijoules, self.broken = 5_000, broken
        self.error = type("NVMLError", (Exception,), {})
        self.module: Any = types.SimpleNamespace(
            NVMLError=self.error,
            nvmlInit=lambda: self._fail("init"),
            nvmlDeviceGetHandleByUUID=self._handle,
            nvmlDeviceGetTotalEnergyConsumption=self._total,
        )

    def _fail(self, where: str) -> None:
        if where == self.broken:
            raise self.error(where)

    def _handle(self, uuid: str) -> str:
        self._fail("handle")
        return uuid

    def _total(self, handle: str) -> int:
        assert handle == "GPU-1234"
        self._fail("total")
        self.millijoules += 2_500
        return self.millijoules


@pytest.mark.parametrize(
    ("broken", "expected"), [("", 2.5), ("init", None), ("handle", None), ("total", None)]
)
def test_a_gpu_counts_by_itself(
    broken: str, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Gpu(broken=broken).module)
    properties = types.SimpleNamespace(uuid="1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    with metered(torch.device("cuda")) as meter:
        pass
    assert meter.joules == expected


def test_all_gpus_of_a_joint_training_count(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def properties(device: object) -> object:
        asked.append(device)
        return types.SimpleNamespace(uuid="1234")

    monkeypatch.setitem(sys.modules, "pynvml", Gpu().module)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    with metered(torch.device("cuda:0"), 3) as meter:
        pass
    assert asked == [torch.device("cuda", rank) for rank in range(3)]
    assert meter.joules == pytest.approx(3 * 7.5)  # the three readings between two of one


def test_without_its_library_nothing_is_known_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with metered(torch.device("cuda")) as meter:
        pass
    assert meter.joules is None
