"""A thousand classes for scale without a download: characters drawn from the fonts that come with matplotlib.

Each class is a character; its pictures differ in font, size, place, turn, ink, paper, contrast and noise, all drawn
from (seed, class, number). It stands in for a thousand classes of photographs only in their number.
"""

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Origin, Progress
from dltk.errors import DataError

CLASSES = 1000
EACH = 60  # pictures of a class
SIZE = 64  # rows and columns
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSansMono", "DejaVuSerif-Bold")
RANGES = (
    *((0x21, 0x7F), (0xA1, 0x180), (0x391, 0x3CF), (0x410, 0x450), (0x531, 0x557), (0x561, 0x587)),
    *((0x10D0, 0x10FB), (0x2190, 0x2200), (0x2200, 0x2300), (0x2500, 0x25A0), (0x25A0, 0x2600), (0x2600, 0x26A0)),
    *((0x2701, 0x27BF), (0x2801, 0x2900), (0x1E00, 0x1EF0)),
)


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: the fonts have too few characters.
    """
    characters = _characters()
    about = {"source": "fonts of matplotlib", "characters": characters, "each": EACH, "size": SIZE}
    classes = [f"U+{ord(character):04X}" for character in characters]
    return pack(
        _samples(characters, settings.seed), to, name="rendered", classes=classes, about=about, settings=settings,
        progress=progress,
    )  # fmt: skip


def _characters() -> list[str]:
    """A thousand characters that at least two of the fonts have, and that look different in the plain one."""
    font = _font(0, 32)
    chosen: dict[bytes, str] = {}
    for low, high in RANGES:
        for code in range(low, high):
            if 0 in _fonts_with(code) and len(_fonts_with(code)) > 1:
                chosen.setdefault(_glyph(chr(code), font).tobytes(), chr(code))
    if len(chosen) < CLASSES:
        raise DataError("", "fonts", f"have {len(chosen)} characters, {CLASSES} are needed", "Reinstall matplotlib.")
    return list(chosen.values())[:CLASSES]


def _samples(characters: list[str], seed: int) -> Iterator[dict[str, Any]]:
    from PIL import Image

    for target, character in enumerate(characters):
        for number in range(EACH):
            generator = np.random.Generator(np.random.Philox(key=(seed << 64) + (target << 20) + number))
            file = io.BytesIO()
            Image.fromarray(_draw(character, generator)).save(file, "JPEG", quality=92)
            yield {"__key__": f"{target:03d}/{number:03d}", "jpg": file.getvalue(), "cls": str(target).encode()}


def _draw(character: str, generator: np.random.Generator) -> np.ndarray:
    """One picture, uint8 (64, 64, 3)."""
    from PIL import Image, ImageDraw

    fonts = _fonts_with(ord(character))
    font = _font(fonts[int(generator.integers(len(fonts)))], int(generator.integers(28, 46)))
    canvas = Image.new("L", (SIZE, SIZE))
    left, top, right, bottom = font.getbbox(character)
    shift = generator.uniform(-5, 5, 2)
    place = ((SIZE - left - right) / 2 + shift[0], (SIZE - top - bottom) / 2 + shift[1])
    ImageDraw.Draw(canvas).text(place, character, fill=255, font=font)
    canvas = canvas.rotate(generator.uniform(-12, 12), Image.Resampling.BILINEAR)
    ink, paper = generator.uniform(0, 255, 3), generator.uniform(0, 255, 3)
    while np.abs(ink - paper).mean() < 60:
        ink = generator.uniform(0, 255, 3)
    share = np.asarray(canvas, dtype=np.float64)[:, :, None] / 255  # (64, 64, 1)
    picture = share * ink + (1 - share) * paper + generator.normal(0, generator.uniform(0, 12), (SIZE, SIZE, 3))
    return picture.clip(0, 255).round().astype(np.uint8)


@functools.cache
def _fonts_with(code: int) -> list[int]:
    """The fonts that have a character; the others would draw an empty box."""
    from matplotlib.font_manager import get_font

    return [number for number in range(len(FONTS)) if get_font(_path(number)).get_char_index(code)]


@functools.cache
def _font(number: int, size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(_path(number), size)


def _path(number: int) -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{FONTS[number]}.ttf"))


def _glyph(character: str, font: Any) -> np.ndarray:
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (48, 48))
    ImageDraw.Draw(canvas).text((8, 4), character, fill=255, font=font)
    return np.asarray(canvas)
