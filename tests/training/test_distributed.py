"""A training by several processes against the same training by one."""

import multiprocessing
from itertools import chain
from pathlib import Path

import pytest
import torch

from ssbench.data.shard import Shard
from ssbench.training.distributed.launch import meeting_point
from ssbench.training.distributed.single import SingleProcess
from tests.support import distributed
from tests.support.distributed import MATRIX, QUICK, Found


def jointly(folder: Path, of: int, *, matrix: bool) -> list[dict[str, Found]]:
    """Do the trainings in ``of`` processes; return what each of them found."""
    context, store = multiprocessing.get_context("spawn"), meeting_point()
    processes = [
        context.Process(target=distributed.work, args=(rank, of, store.port, str(folder), matrix))
        for rank in range(of)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * of
    return [torch.load(folder / f"{rank}.pt") for rank in range(of)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Found]]:
    return jointly(tmp_path_factory.mktemp("two"), 2, matrix=False)


def check(found: list[Found], alone: Found) -> None:
    """Check that all processes have the same bits, and those of one process except for order."""
    assert all(first.keys() == alone.keys() for first in found)
    for name, expected in alone.items():
        first = found[0][name]
        assert all(torch.equal(other[name], first) for other in found[1:]), name
        torch.testing.assert_close(first, expected, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", ["l0", "synaptic-strength", "one image", "noisy"])
def test_two_processes_train_as_one(name: str, two: list[dict[str, Found]]) -> None:
    check([found[name] for found in two], QUICK[name](SingleProcess()))


def test_processes_that_drift_apart_are_found(two: list[dict[str, Found]]) -> None:
    for name, reason in (("drifting", "same parameters"), ("jittery", "same noise")):
        for found in two:
            assert reason in bytes(found[name]["error"].tolist()).decode()
        assert QUICK[name](SingleProcess()) == {}


def test_torch_s_own_batch_norm_does_not_do_it_here(two: list[dict[str, Found]]) -> None:
    assert "GPU" in bytes(two[0]["torch's own"]["error"].tolist()).decode()


@pytest.mark.exhaustive
@pytest.mark.parametrize("of", [2, 3])
def test_several_processes_train_as_one(of: int, tmp_path: Path) -> None:
    found = jointly(tmp_path, of, matrix=True)
    for name, case in MATRIX.items():
        check([each[name] for each in found], case(SingleProcess()))


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_every_row_is_one_process_s_and_shares_differ_by_one(of: int) -> None:
    shares = [Shard(rank, of) for rank in range(of)]
    for size in range(1, 20):
        rows = [list(range(size))[share.rows(size)] for share in shares]
        assert list(chain.from_iterable(rows)) == list(range(size))
        assert [len(own) for own in rows] == shares[0].counts(size)
        assert max(map(len, rows)) - min(map(len, rows)) <= 1
        assert all(
            len(range(size)[share.shown(size)]) == max(len(own), 1)
            for share, own in zip(shares, rows, strict=True)
        )
