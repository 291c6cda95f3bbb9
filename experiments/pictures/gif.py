"""Moving pictures: images one after the other, as a GIF or an animated PNG that is small enough for a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

COLOURS = 64  # of the palette: enough for flat drawings, and fewer bytes than 256
# A moving picture has no half-transparent edges: it lies on a dark ground, which glares on no page.
GROUND, INK = "#0d1117", "#c9d1d9"


def image(figure: Any) -> Any:
    """Return a matplotlib Figure as a Pillow Image, pixel by pixel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_facecolor(GROUND)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return pixels(canvas)


def pixels(canvas: Any) -> Any:
    """Return what was drawn on matplotlib's canvas as a Pillow Image."""
    from PIL import Image

    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def gif(images: Sequence[Any], times_ms: Sequence[int]) -> bytes:
    """Return the GIF that shows each image for so many milliseconds, over and over; all are of one size."""
    return _encoded("GIF", images, times_ms)


def apng(images: Sequence[Any], times_ms: Sequence[int]) -> bytes:
    """Return the same as an animated PNG: code-hosting pages show no GIF that is the output of a notebook's cell."""
    return _encoded("PNG", images, times_ms)


def _encoded(kind: str, images: Sequence[Any], times_ms: Sequence[int]) -> bytes:
    from PIL import Image

    width, height = images[0].size
    pile = Image.new("RGB", (width, height * len(images)))  # one palette for all, made of all
    for place, each in enumerate(images):
        pile.paste(each, (0, place * height))
    # Not the median cut, which leaves out a colour that is rare, such as that of the few comparators that swap.
    pile = pile.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    first, *others = (pile.crop((0, place * height, width, (place + 1) * height)) for place in range(len(images)))
    file = io.BytesIO()
    first.save(file, format=kind, save_all=True, append_images=others, duration=[*times_ms], loop=0)
    return file.getvalue()
