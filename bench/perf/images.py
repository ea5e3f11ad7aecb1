"""Time reading images from a folder with new worker processes and with persistent ones.

uv run python -m bench.perf.images [--images 600] [--workers 2]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.io import decode_jpeg, read_file
from torchvision.transforms import v2

from bench.perf.measure import heading, interleaved, quartiles
from ssbench.data.folder_loader import FolderLoader
from ssbench.data.image_folder import Files
from ssbench.data.picture import read_image
from ssbench.data.registry import open_dataset
from ssbench.training.device import resolve

WIDTH, HEIGHT = 500, 375
BATCH = 64


def main() -> None:
    """Print the seconds of a pass over all images, and of one over two batches of one image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{heading(resolve('cpu'))}; {options.images} images, {options.workers} workers")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.images)
        dataset = open_dataset(f"imagefolder:{folder}", Path())
        assert isinstance(dataset.train, Files)  # as all folders are
        for name, count in (("all images", options.images), ("two images", 2)):
            train = Files(dataset.train.root, dataset.train.paths[:count], dataset.train.labels)
            size = BATCH if count > 2 else 1

            def loader(train: Files = train, size: int = size) -> FolderLoader:
                return FolderLoader(train, dataset.normalisation, size, workers=options.workers)

            stays = loader()
            seconds = interleaved(
                {"new": lambda make=loader: read(make()), "stayed": lambda it=stays: read(it)},  # type: ignore[misc]
                options.rounds,
            )
            for kind, values in seconds.items():
                low, middle, high = quartiles(values)
                print(f"{name}, workers {kind:7} {middle:.3f} s [{low:.3f}, {high:.3f}]")


def read(loader: FolderLoader) -> None:
    """Pass once over the images, augmented."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    for _ in loader.shuffled(*generators):
        pass


class Decoded(Dataset[Tensor]):
    """Photographs, decoded only, uint8 [3, H, W]."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        image = read_image(self.files.root / self.files.paths[index])
        pixels: Tensor = v2.functional.pil_to_tensor(image)
        return pixels


def decoders(folder: Path, device: torch.device, workers: int) -> dict[str, Callable[[], object]]:
    """Return the ways to get batches of photographs to a device, each a pass over all of them.

    Those that the device crops or decodes are not part of ssbench: they give other pixels.
    """
    dataset = open_dataset(f"imagefolder:{folder}", Path())
    files = dataset.train.to(device)
    assert isinstance(files, Files)  # as all folders are
    ours = FolderLoader(files, dataset.normalisation, BATCH, workers=workers)
    whole = DataLoader(
        Decoded(files),
        BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        collate_fn=list,
    )
    crop = v2.Compose([v2.RandomResizedCrop(files.preprocessing.crop), v2.RandomHorizontalFlip()])
    mean, sd = (part.to(device) for part in dataset.normalisation)

    def show(batch: list[Tensor]) -> None:
        cropped = [crop(image.to(device, non_blocking=True)) for image in batch]
        normalised = (torch.stack(cropped).float() - mean) / sd
        normalised.contiguous(memory_format=torch.channels_last)

    def on_the_device() -> None:
        for batch in whole:
            show(batch)

    def decoded_there() -> None:
        for start in range(0, len(files), BATCH):
            paths = [str(files.root / path) for path in files.paths[start : start + BATCH]]
            show(decode_jpeg([read_file(path) for path in paths], device=device))

    ways: dict[str, Callable[[], object]] = {
        f"decoded and cropped by {workers} processes": lambda: read(ours),
        f"decoded by {workers} processes, cropped on the device": on_the_device,
    }
    if device.type == "cuda":
        ways["decoded and cropped on the device"] = decoded_there
    return ways


def make(root: Path, count: int) -> None:
    """Write JPEG files of ImageNet's size in two classes: soft colours with some noise."""
    random = np.random.RandomState(0)
    for part, images in (("train", count), ("val", 2)):
        for number in range(images):
            folder = root / part / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            few = Image.fromarray(random.randint(0, 255, (24, 32, 3), dtype=np.uint8))
            soft = np.asarray(few.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
            noisy = soft + random.randint(-12, 12, soft.shape)
            picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
            picture.save(folder / f"{number}.jpg", quality=90)


if __name__ == "__main__":
    main()
