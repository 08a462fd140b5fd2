"""Random settings, images and archives, which must be read or refused; see soak.py."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import string
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline import config
from stages.datasets.loading import load_dataset
from stages.errors import DataError, SettingsError, UserError, machine_error
from stages.settings import Data, Settings

LIMIT_SECONDS = 20
LONGEST_MESSAGE = 4000

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "PCX", "SGI", "DDS")
WORDS = (
    *("", "true", "nan", "inf", "-inf", "1e400", "-0.0", "0x7f", "1_000", "1979-05-27", "07:32:00"),
    *(
        "[]",
        "{}",
        "[[]]",
        "[1, 'a']",
        '"""',
        "'''",
        "=",
        "a.b = 1",
        "\x00",
        "\x1b[2J",
        "\ud800",
        "é",
    ),
    *(
        "../..",
        "/dev/zero",
        "/",
        "~",
        "http://[",
        "http://x/y?token=1",
        "module:function",
        ":",
        "a:",
    ),
)


def fuzz_settings(folder: Path, count: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Load `count` random settings, from `--set` and from files.

    What is accepted must be the same after it has been written and read again.
    """
    for number in range(count):
        draw = random.Random(f"{seed} settings {number}")
        if is_file := draw.random() < 0.2:
            file, words = folder / "settings.toml", ()
            file.write_bytes(_toml(draw))
        else:
            file, words = None, tuple(_override(draw) for _ in range(draw.randint(1, 4)))

        def load(file: Path | None = file, words: tuple[str, ...] = words) -> None:
            settings = config.load(file, words)
            again = folder / "again.toml"
            again.write_text(config.to_toml(settings), encoding="utf-8")
            if config.load(again) != settings:
                raise AssertionError("written and read again it is another")

        tried = repr(file.read_bytes()) if file else repr(words)
        yield "file" if is_file else "--set", _faults(load, SettingsError, number, tried)


def _override(draw: random.Random) -> str:
    section = draw.choice(list(Settings.model_fields))
    key = draw.choice(list(type(getattr(Settings(), section)).model_fields))
    name = f"{section}.{key}"
    if draw.random() < 0.1:
        name = draw.choice([name.upper(), name[1:], f"{name}.{key}", key, section, _text(draw), ""])
    return f"{name}={_value(draw)}"


def _value(draw: random.Random, depth: int = 0) -> str:
    if depth < 3 and draw.random() < 0.25:
        parts = [_value(draw, depth + 1) for _ in range(draw.randint(0, 4))]
        return f"[{', '.join(parts)}]"
    return draw.choice(
        [
            lambda: str(draw.randint(-3, 300)),
            lambda: str(draw.randint(-(10**30), 10**30)),
            lambda: repr(draw.uniform(-2, 2)),
            lambda: repr(draw.uniform(-1, 1) * 10.0 ** draw.randint(-320, 308)),
            lambda: str(2 ** draw.choice([31, 32, 40, 63, 64]) - draw.randint(0, 1)),
            lambda: draw.choice(WORDS),
            lambda: f'"{draw.choice(WORDS)}"',
            lambda: _text(draw),
            lambda: draw.choice(["9", "[", '"', "a", "{a=", "\\"]) * draw.choice([300, 5000]),
            lambda: draw.choice(["digits", "npz", "folder", "litert", "fp32", "int8", "cpu"]),
        ]
    )()


def _text(draw: random.Random) -> str:
    letters = string.printable + "\x00\x7f\u2028\u202eéß漢😀"
    return "".join(draw.choices(letters, k=draw.randint(0, 20)))


def _toml(draw: random.Random) -> bytes:
    if draw.random() < 0.5:
        return _damaged(config.to_toml(Settings()).encode(), draw)
    lines = [f"[{draw.choice(list(Settings.model_fields))}]"]
    for override in (_override(draw) for _ in range(draw.randint(0, 6))):
        lines.append(override.partition(".")[2] if draw.random() < 0.8 else override)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def fuzz_inputs(folder: Path, count: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Load `count` data sets of which one file is damaged: an image of a folder, or an archive."""
    images, archives = _images(), _archives()
    photos, cache = folder / "photos", folder / "cache"
    os.environ["XDG_CACHE_HOME"] = str(cache)
    places = [photos / part / name / f"{n}.png" for part, n in PLACES for name in ("cat", "dog")]
    for number in range(count):
        draw = random.Random(f"{seed} inputs {number}")
        shutil.rmtree(cache, ignore_errors=True)
        if draw.random() < 0.5:
            kind, whole = draw.choice(list(images.items()))
            for place in places:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(images["PNG"])
            victim = draw.choice(places)
            victim.write_bytes(raw := _damaged(whole, draw))
            data = Data(
                name="folder",
                path=str(photos),
                calibration_samples=1,
                skip_bad_images=draw.random() < 0.5,
                image_size=draw.choice([0, 0, 5]),
            )
        else:
            kind, whole = draw.choice(list(archives.items()))
            file = folder / "set.npz"
            file.write_bytes(raw := _damaged(whole, draw))
            data = Data(name="npz", path=str(file), calibration_samples=1)
        faults = _faults(lambda data=data: load_dataset(data), DataError, number, data.path or "")
        if faults:
            (folder / f"case-{number}").write_bytes(raw)
        yield kind, faults


PLACES = (("train", 1), ("train", 2), ("train", 3), ("train", 4), ("test", 1), ("test", 2))


def _images() -> dict[str, bytes]:
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    images = {}
    for format in FORMATS:
        raw = io.BytesIO()
        Image.fromarray(pixels).save(raw, format)
        images[format] = raw.getvalue()
    return images


def _archives() -> dict[str, bytes]:
    arrays: dict[str, Any] = {"x_train": np.zeros((12, 4, 4), np.uint8), "y_train": [0, 1] * 6}
    arrays |= {"x_test": np.zeros((4, 4, 4), np.uint8), "y_test": [0, 1] * 2}
    archives = {}
    for name, save in (("npz", np.savez), ("npz, compressed", np.savez_compressed)):
        raw = io.BytesIO()
        save(raw, **arrays)
        archives[name] = raw.getvalue()
    raw = io.BytesIO()
    np.savez(raw, **{**arrays, "x_train": np.array([{}, []], object)}, allow_pickle=True)
    archives["npz with a pickle"] = raw.getvalue()
    return archives


def _damaged(whole: bytes, draw: random.Random) -> bytes:
    """`whole` with a few bytes changed, cut, repeated or removed, sometimes all of them."""
    raw = bytearray(whole)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        place = draw.randrange(max(1, len(raw)))
        match draw.randrange(7):
            case 0:
                raw[place : place + 1] = draw.randbytes(1)
            case 1 | 2 if raw:
                place = min(place, len(raw) - 1)
                raw[place] ^= 1 << draw.randrange(8)
            case 3:
                del raw[place:]
            case 4:
                del raw[place : place + draw.randrange(1, 40)]
            case 5:
                raw[place:place] = raw[: draw.randrange(1, 200)]
            case _:
                word = draw.choice([b"\xff\xff\xff\xff", b"\0" * 8, b"99999999", b"PK\3\4", b"("])
                raw[place : place + len(word)] = word
    return bytes(raw)


def _faults(
    action: Callable[[], object], refusal: type[UserError], number: int, tried: str
) -> list[str]:
    """What is wrong with how `action` ended: it may only end well or in a clear refusal."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            action()
    except refusal as error:
        if len(str(error)) > LONGEST_MESSAGE:
            return [f"number {number}: {tried[:500]}: a message of {len(str(error))} characters"]
    except BaseException as error:
        if machine_error(error) is None:
            return [f"number {number}: {tried[:500]}: {type(error).__name__}: {str(error)[:500]}"]
    finally:
        signal.alarm(0)
    return []


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {LIMIT_SECONDS} s")
