"""Data against scikit-learn's own loader; batches against their definition."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from ssbench.data.batches import StreamFeed
from ssbench.data.digits import digits
from ssbench.data.loader import Loader
from ssbench.data.registry import DATASETS, open_dataset
from ssbench.errors import RunFailedError

DATA = digits()
PLAIN = (torch.zeros(1, 1, 1), torch.ones(1, 1, 1))


def test_digits_are_those_of_scikit_learn_each_once() -> None:
    bunch = load_digits()
    parts = (DATA.train, DATA.validation, DATA.test)
    ours = sorted(
        (int(label), image.flatten().tolist())
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    )
    theirs = sorted(
        (int(label), [int(p) for p in image.flatten()])
        for image, label in zip(bunch.images, bunch.target, strict=True)
    )
    assert ours == theirs
    assert [len(part) for part in parts] == [1000, 297, 500]


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_every_data_set_has_three_splits_of_its_classes(name: str, tmp_path: Path) -> None:
    dataset = open_dataset(name, tmp_path)
    listed = DATASETS[name]
    splits = (dataset.train, dataset.validation, dataset.test)
    for split in splits:
        assert split.images.dtype == torch.uint8
        assert set(split.labels.unique().tolist()) == set(range(dataset.classes))
    assert dataset.name == name
    assert listed.images == tuple(map(len, splits))
    assert (listed.shape, listed.classes) == (dataset.train.image_shape, dataset.classes)


def test_the_fingerprint_follows_every_pixel_and_label() -> None:
    before = DATA.fingerprint
    assert digits().fingerprint == before
    changed = digits()
    changed.test.images[3, 0, 2, 2] += 1
    assert changed.fingerprint != before
    relabelled = digits()
    relabelled.train.labels[0] = (relabelled.train.labels[0] + 1) % 10
    assert relabelled.fingerprint != before


def test_normalisation_uses_training_images_only() -> None:
    loader = Loader(DATA.train, DATA.normalisation, 1000)
    ((images, _),) = loader.in_order()
    assert float(images.mean()) == pytest.approx(0, abs=1e-4)
    assert float(images.std()) == pytest.approx(1, abs=1e-3)


def shuffled(seed: int, **settings: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    loader = Loader(DATA.train, PLAIN, 64, **settings)
    return list(loader.shuffled(*(torch.Generator().manual_seed(seed + i) for i in range(2))))


def test_every_image_comes_once_per_epoch_and_the_seed_decides_the_order() -> None:
    first, again, other = shuffled(0), shuffled(0), shuffled(1)
    sums = sorted(float(image.sum()) for images, _ in first for image in images)
    assert sums == sorted(float(image.sum()) for image in DATA.train.images)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][1], other[0][1])


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    loader = Loader(DATA.train, PLAIN, 333)
    sizes = [len(y) for _, y in loader.shuffled(torch.Generator(), torch.Generator())]
    assert sizes == [333, 333, 334]


def test_shifted_images_are_translations_with_zeros_at_the_border() -> None:
    loader = Loader(DATA.test, PLAIN, 500, shift=1)
    ((shifted, labels),) = loader.shuffled(torch.Generator(), torch.Generator().manual_seed(5))
    order = torch.randperm(500, generator=torch.Generator())
    originals = DATA.test.images[order].float()
    assert torch.equal(labels, DATA.test.labels[order])
    padded = torch.nn.functional.pad(originals, (1,) * 4)
    seen = set()
    for image, original in zip(shifted, padded, strict=True):
        matches = {
            (y, x)
            for y in range(3)
            for x in range(3)
            if torch.equal(image, original[:, y : y + 8, x : x + 8])
        }
        assert matches
        seen |= matches
    assert len(seen) == 9


def test_flipped_images_are_mirrored_half_of_the_time() -> None:
    loader = Loader(DATA.test, PLAIN, 500, flip=True)
    ((flipped, _),) = loader.shuffled(torch.Generator(), torch.Generator().manual_seed(5))
    originals = DATA.test.images[torch.randperm(500, generator=torch.Generator())].float()
    mirrored = [
        torch.equal(a, b.flip(2)) and not torch.equal(a, b)
        for a, b in zip(flipped, originals, strict=True)
    ]
    kept = [torch.equal(a, b) for a, b in zip(flipped, originals, strict=True)]
    assert all(m or k for m, k in zip(mirrored, kept, strict=True))
    assert 200 < sum(mirrored) < 300


def test_a_feed_says_that_batches_differ_in_shape_and_goes_on() -> None:
    batches = [(torch.full((2, 1, size, size), float(size)), torch.zeros(2)) for size in (4, 4, 5)]
    feed = StreamFeed(lambda *_: iter(batches), check=True)
    feed.begin(torch.Generator(), torch.Generator())
    feed.fix(2)
    memory = set()
    for expected, _ in batches[:2]:
        feed.fetch(2)
        memory.add(feed.batch(2)[0].data_ptr())
        assert torch.equal(feed.batch(2)[0], expected)
    assert (len(memory), feed.steady) == (1, True)
    feed.fetch(2)
    assert torch.equal(feed.batch(2)[0], batches[2][0])
    assert not feed.steady
    with pytest.raises(RunFailedError, match="no batch where 2 images were due"):
        feed.fetch(2)
    feed.begin(torch.Generator(), torch.Generator())
    with pytest.raises(RunFailedError, match="a batch of 2 images where 3 images were due"):
        feed.fetch(3)
