from __future__ import annotations

import re
import runpy
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pipeline
from pipeline.bundle.engine import BundledEngine
from pipeline.bundle.export import Export, export
from pipeline.core.plan import PLAN
from stages.artifacts.signature import Signature
from stages.datasets import folder
from stages.engines import records
from stages.engines.registry import EngineName
from stages.errors import ArtifactError, DataError, EngineError
from stages.settings import Data
from tests.stages.graphs import images

PIXELS = images(40, seed=3)


@pytest.fixture(scope="module")
def engine(bundle: Path) -> Iterator[BundledEngine]:
    with pipeline.load(bundle) as opened:
        yield opened


@pytest.fixture(scope="module")
def outputs(built: Path) -> np.ndarray:
    """What the engine itself says of PIXELS."""
    record = next(
        each for each in records.read(built / "build") if str(each.name) == "onnxruntime.fp32"
    )
    signature = Signature.read(built / "build")
    with records.runner(record, built / "build", signature, 1) as runner:
        return runner.infer(signature.feed(PIXELS))


def test_arrays_of_any_number_give_what_the_engine_gives(engine, outputs):
    for count in (1, 2, 40):
        found = engine.predict(PIXELS[:count])
        np.testing.assert_allclose(found.outputs, outputs[:count], rtol=1e-5)
        assert found.labels == ["abcd"[index] for index in outputs[:count].argmax(axis=1)]


@pytest.mark.parametrize(
    "given",
    [
        PIXELS[0],
        PIXELS[0, :, :, 0],
        [PIXELS[0]],
        PIXELS[:1, :, :, 0],
        Image.fromarray(PIXELS[0, :, :, 0]),
    ],
    ids=["image", "gray image", "list", "gray batch", "PIL"],
)
def test_one_image_is_taken_in_every_form(engine, outputs, given):
    np.testing.assert_allclose(engine.predict(given).outputs, outputs[:1], rtol=1e-5)


def test_more_images_than_a_batch_come_back_in_order(engine, outputs):
    found = engine.predict(list(PIXELS), batch_size=7)
    np.testing.assert_allclose(found.outputs, outputs, rtol=1e-5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder data set of 8x8 gray images whose files need every treatment there is."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(5)
    for part in ("train", "test"):
        for name in ("a", "b"):
            (root / part / name).mkdir(parents=True)
    Image.fromarray(images(1)[0, :, :, 0]).save(root / "train/a/0.png")
    gray = random.integers(0, 256, (50, 34), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gray).save(root / "train/a/1.jpg", exif=exif)
    transparent = random.integers(0, 256, (20, 20, 2), np.uint8)
    Image.fromarray(transparent).save(root / "train/b/2.png")
    Image.fromarray(gray > 99).save(root / "train/b/3.png")
    shutil.copy(root / "train/a/0.png", root / "test/a")
    shutil.copy(root / "train/a/0.png", root / "test/b")
    return root


def test_files_are_read_as_in_training_pixel_by_pixel(engine, bundle, photos):
    files = sorted((photos / "train").rglob("*.*"))
    trained_on = folder.read(Data(name="folder", path=str(photos)), "train").images
    program = runpy.run_path(str(bundle / "predict.py"))
    for file, pixels in zip(files, trained_on, strict=True):
        assert (engine.read(file) == pixels).all(), file
        (((_, (read,))),) = program["samples"](file, program["INPUTS"])
        assert (read == pixels).all(), file
        with Image.open(file) as image:
            # Of an open image nothing is known but its pixels: a JPEG is decoded in full.
            assert file.suffix == ".jpg" or (engine.read(image) == pixels).all(), file


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (PIXELS.astype(np.float32), "the images are float32, expected uint8 pixels"),
        (np.zeros((2, 9, 9, 1), np.uint8), r"shape \(2, 9, 9, 1\), expected \(N, 8, 8, 1\)"),
        (np.zeros((0, 8, 8, 1), np.uint8), "got no image"),
        ([], "got no image"),
        ([PIXELS[:2]], "an array of 2 images, expected one"),
        ("nothing.png", "nothing.png cannot be read as an image"),
        (Image.new("RGB", (8, 8)), "is in colour"),
        (Image.new("I;16", (8, 8)), "more than 8 bits a pixel"),
    ],
)
def test_what_is_no_image_of_the_network_is_refused(engine, given, message):
    with pytest.raises(DataError, match=message):
        engine.predict(given)


@given(st.lists(st.integers(0, 9), min_size=0, max_size=5))
def test_an_array_of_any_shape_is_predicted_or_refused(shape):
    pixels = np.zeros(shape, np.uint8)
    try:
        found = ENGINE[0].predict(pixels)
    except DataError:
        return
    assert len(found) == max(1, pixels.size // 64)


ENGINE: list[BundledEngine] = []


@pytest.fixture(scope="module", autouse=True)
def _shared(engine):
    ENGINE.append(engine)
    yield
    ENGINE.clear()


def test_threads_may_share_an_engine(engine, outputs):
    found = {}

    def work(start: int) -> None:
        for _ in range(20):
            found[start] = engine.predict(PIXELS[start : start + 4]).outputs

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 16, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start, got in found.items():
        np.testing.assert_allclose(got, outputs[start : start + 4], rtol=1e-5)


def test_a_zip_archive_is_loaded_like_a_folder(built, tmp_path, outputs):
    export(Export(tmp_path / "a.zip", "onnxruntime.fp32", format="zip"), built, PLAN)
    with pipeline.load(tmp_path / "a.zip") as opened:
        assert opened.info.engine.name == EngineName("onnxruntime", "fp32")
        np.testing.assert_allclose(opened.predict(PIXELS).outputs, outputs, rtol=1e-5)


def test_a_damaged_zip_archive_is_refused_in_a_line_whatever_byte_it_is(built, tmp_path):
    archive = tmp_path / "a.zip"
    export(Export(archive, "onnxruntime.fp32", format="zip"), built, PLAN)
    whole = archive.read_bytes()
    name = zipfile.ZipFile(archive).infolist()[0]
    entry = whole.rindex(b"PK\x01\x02", 0, whole.index(name.filename.encode(), len(whole) // 2))
    stream = name.header_offset + 30 + len(name.filename)
    # The stream, whether it is encrypted, and how it is compressed.
    for place, flipped in ((stream, 0xFF), (entry + 8, 1), (entry + 10, 1)):
        broken = bytearray(whole)
        broken[place] ^= flipped
        archive.write_bytes(broken)
        with pytest.raises(ArtifactError, match=r"a\.zip' is no bundle: "):
            pipeline.load(archive)


def test_a_closed_engine_says_so(bundle):
    engine = pipeline.load(bundle)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="is not open"):
        engine.predict(PIXELS)


@pytest.mark.parametrize("name", ["nowhere", "empty", "text.zip"])
def test_what_is_no_bundle_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(ArtifactError, match=f"{re.escape(name)}' is no bundle"):
        pipeline.load(tmp_path / name)
