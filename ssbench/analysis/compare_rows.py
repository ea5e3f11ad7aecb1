"""Compare two rows: everything that differs besides the method, and what each cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssbench.analysis import stats, wording
from ssbench.analysis.find_row import title
from ssbench.analysis.notes import devices, versions
from ssbench.analysis.rows import Row
from ssbench.analysis.verdicts import Pair, judge
from ssbench.analysis.wording import written
from ssbench.storage.schema import Record


@dataclass(frozen=True)
class Item:
    """A fact about both rows, as text."""

    what: str
    first: str
    second: str


@dataclass(frozen=True)
class Receipt:
    """What a reader should know before believing that one row beats another.

    Attributes:
        first: name and budget; so too ``second``.
        differences: differing conditions, which a fair comparison would share.
        equal: the shared conditions, with their values.
        settings: the methods' hyper-parameters.
        costs: of each row, per seed.
        sizes: of each pruned network, and its error.
        verdict: whether the row with the lower mean error is really better; None: measured on
            different images, so errors by seed are not paired.
    """

    first: str
    second: str
    differences: tuple[Item, ...]
    equal: tuple[tuple[str, str], ...]
    settings: tuple[Item, ...]
    costs: tuple[Item, ...]
    sizes: tuple[Item, ...]
    verdict: Pair | None


def receipt(first: Row, second: Row) -> Receipt:
    """Make the receipt of two rows, both with a result."""
    facts = [Item(what, say(first), say(second)) for what, say in _CONDITIONS]
    better, worse = sorted((first, second), key=_error)
    return Receipt(
        title(first),
        title(second),
        tuple(item for item in facts if item.first != item.second),
        tuple(
            (item.what, item.first)
            for item in facts
            if item.first == item.second and item.first != wording.ABSENT
        ),
        tuple(_settings(first.like, second.like)),
        tuple(Item(what, say(first), say(second)) for what, say in _COSTS),
        tuple(Item(what, say(first), say(second)) for what, say in _SIZES),
        judge(better, worse, "") if _same_images(first, second) else None,
    )


def _same_images(first: Row, second: Row) -> bool:
    """Whether the records do not show different images."""
    one, two = ({r.data_fingerprint for r in _finals(row)} - {None} for row in (first, second))
    return first.like.dataset == second.like.dataset and (not one or not two or one == two)


def _error(row: Row) -> float:
    return stats.mean(row.values("test_top1_error").values())


def _finals(row: Row) -> list[Record]:
    return [run.final for run in row.done]


def _of_finals(say: Callable[[Sequence[Record]], list[str]]) -> Callable[[Row], str]:
    return lambda row: " | ".join(say(_finals(row))) or wording.ABSENT


def _each(key: str) -> Callable[[Row], str]:
    """Return a function for the distinct values of a key over the seeds."""

    def say(row: Row) -> str:
        values = dict.fromkeys(str(getattr(record, key)) for record in _finals(row))
        return " | ".join(values).replace("None", wording.ABSENT)

    return say


def _commits(records: Sequence[Record]) -> list[str]:
    return sorted({record.commit for record in records if record.commit})


def _images(row: Row) -> str:
    found = {(r.train_images, r.validation_images, r.test_images) for r in _finals(row)}
    return " | ".join(" / ".join(str(count) for count in split) for split in sorted(found, key=str))


def _convention(row: Row) -> str:
    """Return the dense network's counts: others mean another network or counting convention."""
    found = {(r.params_dense, r.connections_dense, r.macs_dense) for r in _finals(row)}
    return " | ".join(
        " / ".join(wording.count(count) for count in sizes) for sizes in sorted(found, key=str)
    )


def _budget(row: Row) -> str:
    return wording.asked(*row.budget)


def _reached(row: Row) -> str:
    reached = row.spread("budget_reached")
    return wording.ABSENT if reached is None else f"{wording.percent(reached.mean)} %"


def _seeds(row: Row) -> str:
    return wording.listing([str(record.seed) for record in _finals(row)])


def _tuning(row: Row) -> str:
    found = row.like.tuning
    return "none" if found is None else f"{found.trials} trials among {written(found.space)}"


_CONDITIONS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("experiment", _each("experiment")),
    ("data set", _each("dataset")),
    ("images (fingerprint)", _each("data_fingerprint")),
    ("preprocessing", _each("preprocessing")),
    ("model", _each("model")),
    ("dense params / connections / MACs", _convention),
    ("images to train / validate / test", _images),
    ("seeds", _seeds),
    ("initial weights", _each("start")),
    ("epochs in total", _each("epochs_total")),
    ("budget", _budget),
    ("budget reached", _reached),
    ("grain", _each("grain")),
    ("scope", _each("scope")),
    ("protection", _each("protection")),
    ("passes", _each("passes")),
    ("shares after the passes", _each("schedule")),
    ("after pruning", _each("retrain")),
    ("tuning", _tuning),
    ("last learning rate", _each("lr")),
    ("precision", _each("precision")),
    ("devices", _each("devices")),
    ("micro-batches", _each("micro_batch")),
    ("hardware", _of_finals(devices)),
    ("versions", _of_finals(versions)),
    ("protocol", _each("protocol")),
    ("commit", _of_finals(_commits)),
)


def _settings(first: Record, second: Record) -> list[Item]:
    names = [*first.settings, *(name for name in second.settings if name not in first.settings)]
    return [
        Item(name, *(str(record.settings.get(name, wording.ABSENT)) for record in (first, second)))
        for name in names
    ]


def _total(key: str, unit: str) -> Callable[[Row], str]:
    def say(row: Row) -> str:
        found = row.total(key)
        return wording.ABSENT if found is None else f"{found.mean:.3g}{unit}"

    return say


def _mean(key: str, write: Callable[[float | None], str]) -> Callable[[Row], str]:
    def say(row: Row) -> str:
        found = row.spread(key)
        return write(found.mean if found else None)

    return say


def _joules(row: Row) -> str:
    found = row.joules()
    return wording.ABSENT if found is None else f"{wording.count(found.mean)} J"


_COSTS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("epochs in total", _mean("epochs_total", wording.number)),
    ("seconds of training", _total("seconds_train", " s")),
    ("of these for the penalty", _total("seconds_penalty", " s")),
    ("seconds of pruning", _total("seconds_prune", " s")),
    ("energy of the device", _joules),
    ("highest memory, bytes", _mean("peak_memory_bytes", wording.count)),
)


def _kept(unit: str) -> Callable[[Row], str]:
    def say(row: Row) -> str:
        kept = row.kept(unit)
        return wording.ABSENT if kept is None else f"{wording.percent(kept.mean)} %"

    return say


_SIZES: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("test error %", lambda row: wording.error(row.spread("test_top1_error"))),
    ("validation error %", lambda row: wording.error(row.spread("validation_top1_error"))),
    ("test error % before finetuning", lambda row: wording.error(row.before("test_top1_error"))),
    ("connections kept", _kept("connections")),
    ("params kept", _kept("params")),
    ("MACs kept", _kept("macs")),
    ("bytes, sparse format", _mean("bytes_sparse", wording.count)),
    ("seeds with a dead layer", lambda row: f"{row.collapsed()} of {len(row.done)}"),
)
