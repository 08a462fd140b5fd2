"""Bundles of networks that take signals, volumes, or images of floats."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from children import call
from numpy.typing import NDArray

import pipeline
from pipeline.bundle import arrays, contents, triton
from pipeline.bundle.contents import Bundle
from pipeline.bundle.export import Export, export
from pipeline.core.plan import PLAN
from stages.errors import DataError
from tests import own_program
from tests.built_artifact import PLAIN, WEIGHTS, write

PLACES = {"signals": (7,), "images": (6, 4), "volumes": (3, 4, 2)}
SCALED = replace(PLAIN, class_names=("r", "g", "b"), scale=0.5, offset=0.25, data_dtype="float32")
VALUES = {
    kind: np.random.default_rng(0).normal(size=(5, *places, 3)).astype(np.float32)
    for kind, places in PLACES.items()
}


def expected(kind: str) -> NDArray[np.float64]:
    """What the engine says of VALUES: WEIGHTS on the mean of what the network sees."""
    kernel, bias = map(np.asarray, WEIGHTS["classification"])
    places = tuple(range(1, 1 + len(PLACES[kind])))
    return np.asarray((0.5 * VALUES[kind] + 0.25).mean(axis=places) @ kernel + bias)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By what they take; not to be written to."""
    root: Path = tmp_path_factory.mktemp("kinds")
    for kind, places in PLACES.items():
        taken = replace(SCALED, input_shape=(*places, 3))
        made = write(root / f"made {kind}", "classification", usual=taken, samples=VALUES[kind])
        export(Export(root / kind, "onnxruntime.fp32"), made, PLAN)
    return {kind: root / kind for kind in PLACES}


def info(bundle: Path) -> Bundle:
    return contents.read(bundle)


@pytest.mark.parametrize("kind", PLACES)
def test_values_are_scaled_as_for_the_training_whatever_their_rank(
    bundles: dict[str, Path], kind: str
) -> None:
    values = VALUES[kind]
    assert info(bundles[kind]).input.data_dtype == "float32"
    with pipeline.load(bundles[kind]) as engine:
        assert engine.kind == kind
        for given in (values, values.astype(np.float64), list(values)):
            np.testing.assert_allclose(engine.predict(given).outputs, expected(kind), atol=1e-5)
        one = engine.predict(values[2])
        np.testing.assert_allclose(one.outputs, expected(kind)[2:3], atol=1e-5)


@pytest.mark.parametrize("kind", PLACES)
def test_files_of_arrays_are_one_sample_or_many(
    bundles: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    np.save(tmp_path / "many.npy", VALUES[kind])
    np.save(tmp_path / "one.npy", VALUES[kind][1])
    np.savez(tmp_path / "test.npz", x_test=VALUES[kind][3:], y_test=np.arange(2))
    done = call("predict", str(bundles[kind]), str(tmp_path), "--format", "json", "--top", "1")
    assert done.exit_code == 0, done.output
    best = [("rgb"[index]) for index in expected(kind).argmax(axis=1)]
    names = [*(f"many.npy[{index}]" for index in range(5)), "one.npy"]
    names += [f"test.npz:x_test[{index}]" for index in range(2)]
    said = {each["image"]: each["top"][0]["class"] for each in json.loads(done.stdout)}
    wanted = dict(zip(names, [*best, best[1], *best[3:]], strict=True))
    assert said == {f"{tmp_path}/{name}": label for name, label in wanted.items()}
    assert f"8 {kind} in" in done.stderr


@pytest.mark.parametrize("kind", PLACES)
def test_the_program_of_the_bundle_reads_the_same_arrays_without_pillow(
    bundles: dict[str, Path], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "PIL" not in (bundles[kind] / "predict.py").read_text()
    assert "pillow" not in (bundles[kind] / "requirements.txt").read_text()
    np.save(tmp_path / "a.npy", VALUES[kind][2].astype(np.float16))
    own_program.run(bundles[kind], tmp_path / "a.npy")
    best = "rgb"[int(expected(kind)[2].argmax())]
    assert capsys.readouterr().out.startswith(f"{tmp_path}/a.npy: {best} ")
    np.savez(tmp_path / "many.npz", x_test=VALUES[kind], y_test=np.arange(5))
    rows = own_program.says_the_same(bundles[kind], tmp_path / "many.npz", tmp_path)
    assert rows[4]["image"] == f"{tmp_path}/many.npz:x_test[4]"
    own_program.run(bundles[kind], "--check")
    assert "4 of 4 samples have the class expected" in capsys.readouterr().out


def test_a_file_of_labels_alone_is_told_and_no_success(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", y_test=np.arange(5))
    done = call("predict", str(bundles["signals"]), str(tmp_path / "a.npz"))
    assert done.exit_code == 1
    assert 'a.npz holds no array, or only labels, whose names begin with "y"' in done.stderr


def test_the_samples_of_a_bundle_can_be_predicted(bundles: dict[str, Path]) -> None:
    folder = bundles["signals"] / contents.SAMPLES
    done = call("predict", str(bundles["signals"]), str(folder))
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("kind", PLACES)
def test_triton_is_told_the_shape_and_that_floats_are_scaled_by_the_client(
    bundles: dict[str, Path], kind: str
) -> None:
    lines = list(triton.config(info(bundles[kind]), (1, 8), b""))
    assert f"  dims: {[*PLACES[kind], 3]}" in lines
    assert "  data_type: TYPE_FP32" in lines


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 7, 3), np.uint8), "the signals are uint8, expected one of int8, int16"),
        (np.zeros((2, 8, 3)), r"\(2, 8, 3\), expected \(N, 7, 3\) or one alone \(7, 3\)"),
        (np.zeros((0, 7, 3)), "got no signals to predict"),
        (np.full((2, 7, 3), np.nan), "2 of 2 signals hold NaN, infinity"),
        ([VALUES["signals"][:2]], "an array of 2 signals, expected one"),
        ("photo.png", r"takes signals float32 \(7, 3\), which no image file holds"),
        ("gone.npy", "gone.npy cannot be read as arrays"),
    ],
)
def test_what_is_no_signal_of_the_network_is_refused(
    bundles: dict[str, Path], given: object, message: str
) -> None:
    with pipeline.load(bundles["signals"]) as engine, pytest.raises(DataError, match=message):
        engine.predict(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((7, 3), np.uint8), r"a\.npy holds uint8 \(7, 3\), expected float32 \(7, 3\)"),
        (np.zeros((7, 3), int), r"a\.npy holds int64 \(7, 3\), expected float32 \(7, 3\)"),
        (np.zeros((0, 7, 3)), r"a\.npy holds float64 \(0, 7, 3\), expected float32 \(7, 3\)"),
        (np.zeros((2, 8, 3)), r"a\.npy holds float64 \(2, 8, 3\), expected float32 \(7, 3\)"),
        (np.full((7, 3), np.inf), "a.npy: the values of 'image' are not finite"),
        (np.full((7, 3), 1e300), "a.npy: the values of 'image' are not finite"),
        (None, r"a\.png is no \.npy file, expected an array float32 \[7, 3\]"),
    ],
)
def test_the_program_refuses_what_is_no_signal_of_the_network(
    bundles: dict[str, Path], tmp_path: Path, given: NDArray[np.float64] | None, message: str
) -> None:
    file = tmp_path / ("a.png" if given is None else "a.npy")
    if given is not None:
        np.save(file, given)
    with pytest.raises(SystemExit, match=message):
        own_program.run(bundles["signals"], file)


@pytest.mark.parametrize(("given", "count"), [((2, 7), 2), ((7,), 1), ((7, 1), 1), ((2, 7, 1), 2)])
def test_an_only_channel_may_be_left_out(
    bundles: dict[str, Path], given: tuple[int, ...], count: int
) -> None:
    wanted = info(bundles["signals"]).input.model_copy(update={"shape": (7, 1)})
    assert arrays.batch_of(np.ones(given), wanted).shape == (count, 7, 1)


def test_a_number_is_one_sample_of_a_network_that_takes_one(bundles: dict[str, Path]) -> None:
    wanted = info(bundles["signals"]).input.model_copy(update={"shape": (1,)})
    assert not arrays.are_many(np.float32(3), [wanted])
    assert arrays.batch_of(np.array(3, np.float32), wanted).tolist() == [[3]]
