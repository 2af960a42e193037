"""Photographs to measure with, as large and as finely coded as most of ImageNet's."""

from pathlib import Path

import matplotlib
import numpy as np
import simplejpeg
from PIL import Image
from sklearn.datasets import load_sample_images

CLASSES = 4
HEIGHT, WIDTH, QUALITY = 375, 500, 95  # 0.5 bytes a pixel; ImageNet's files have 0.5 to 0.6


def write(folder: Path, count: int) -> None:
    """Write so many different pictures as `train/CLASS/*.jpg`, and one of each class below `val` too."""
    generator, wholes = np.random.default_rng(0), photographs()
    for number in range(count):
        data = picture(wholes[number % len(wholes)], generator)
        for part in ("train", "val") if number < CLASSES else ("train",):
            place = folder / part / f"class{number % CLASSES}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:04d}.jpg").write_bytes(data)


def photographs() -> list[Image.Image]:
    """Those that lie in packages which are here anyway."""
    portrait = Image.open(Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")).convert("RGB")
    return [*map(Image.fromarray, load_sample_images().images), portrait]


def picture(whole: Image.Image, generator: np.random.Generator) -> bytes:
    """A part of a photograph, resized, turned and made lighter or darker at random, with grain."""
    width = min(whole.width, whole.height * WIDTH / HEIGHT) * generator.uniform(0.8, 1.0)
    height = width * HEIGHT / WIDTH
    top, left = generator.uniform(0, whole.height - height), generator.uniform(0, whole.width - width)
    box = (left, top, left + width, top + height)
    part = whole.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box)
    part = part.rotate(generator.uniform(-3, 3), Image.Resampling.BICUBIC)
    light = np.asarray(part, np.float32) * generator.uniform(0.8, 1.2)
    grainy = light + generator.normal(0, 3, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return simplejpeg.encode_jpeg(grainy.clip(0, 255).astype(np.uint8), QUALITY, "RGB", "420")
