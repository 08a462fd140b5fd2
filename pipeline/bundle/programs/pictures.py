"""Image files for predict.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


def decoded(file: Path, info: dict[str, Any]) -> NDArray[np.uint8]:
    """What Pillow reads, in the colours and the size of the network: (height, width, channels)."""
    height, width, channels = info["shape"]
    with Image.open(file) as opened:
        opened.draft(None, (max(width, height),) * 2)  # decodes no more of a JPEG than is needed
        image = ImageOps.exif_transpose(opened)
    if image.mode[0] in "FI":
        sys.exit(f"{file} has more than 8 bits a pixel")
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, "black")
        image = Image.alpha_composite(black, image.convert("RGBA"))
    if channels == 1 and mode != "L":
        sys.exit(f"{file} is in colour, and the network takes gray images")
    image = image.convert(mode).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(height, width, channels)
