from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.artifacts.signature import Input
from stages.conversion.litert import write_float
from stages.engines import amx, litert
from stages.engines.base import BuildRequest
from stages.errors import EngineError
from tests.stages.graphs import SIGNATURE, images

BATCH = SIGNATURE.preprocess(images(6))
ROOT = Path(__file__).parents[3]
REQUEST = BuildRequest(SIGNATURE, "int8")


def tensor(dtype: type, scale: float, zero_point: int) -> dict[str, Any]:
    return {"dtype": dtype, "quantization": (scale, zero_point)}


def test_a_float_engine_leaves_the_question_of_amx_to_others(
    converted: Path, tmp_path: Path
) -> None:
    source, file = converted / "model.fp32.tflite", tmp_path / "engine.tflite"
    litert.build(source, file, BuildRequest(SIGNATURE, "fp32"))
    assert file.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(("pairs_ms", "is_chosen"), [(0.5, True), (2.0, False)])
def test_the_faster_of_two_forms_becomes_the_engine(
    converted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pairs_ms: float,
    is_chosen: bool,
) -> None:
    source, engine = tmp_path / "model.fp32.tflite", tmp_path / "engine.tflite"
    pairs = litert.paired_form(source)
    assert pairs.name == "model.fp32.pairs.tflite"
    plain = (converted / source.name).read_bytes()
    source.write_bytes(plain)
    pairs.write_bytes(plain + b"pairs")
    monkeypatch.setattr(litert, "probe", lambda form, *_: pairs_ms if form == pairs else 1.0)
    account = litert.build(source, engine, BuildRequest(SIGNATURE, "fp32"))
    assert engine.read_bytes() == (plain + b"pairs" if is_chosen else plain)
    assert account.remarks == (
        ("narrow convolutions compute two columns at once: 0.5000 instead of 1.0000 ms",)
        if is_chosen
        else ()
    )


@pytest.mark.parametrize(("has_pairs", "seconds"), [(True, 0.1), (False, 0.0)])
def test_forms_are_timed_no_longer_than_asked_and_the_only_one_is_run_once(
    tmp_path: Path,
    converted: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_pairs: bool,
    seconds: float,
) -> None:
    source, asked = tmp_path / "model.fp32.tflite", list[float]()
    source.write_bytes((converted / source.name).read_bytes())
    if has_pairs:
        litert.paired_form(source).write_bytes(source.read_bytes())
    monkeypatch.setattr(litert, "probe", lambda _form, _use, limit: asked.append(limit) or 1.0)
    litert.build(source, tmp_path / "out", BuildRequest(SIGNATURE, "fp32", max_seconds=0.1))
    assert set(asked) == {seconds}


def test_the_operands_of_a_layer_say_what_it_computes_in(converted: Path, tmp_path: Path) -> None:
    reports = {
        precision: litert.build(
            converted / f"model.{precision}.tflite",
            tmp_path / "engine.tflite",
            BuildRequest(SIGNATURE, precision),
        )
        for precision in ("fp32", "int8")
    }
    for precision, report in reports.items():
        kinds = [(layer.kind, layer.requested, layer.executed) for layer in report.layers]
        assert kinds == [
            ("CONV_2D", precision, precision),
            ("FULLY_CONNECTED", precision, precision),
        ]
        assert [layer.reason for layer in report.layers] == [None, None]


def test_a_convolution_of_few_channels_alone_is_in_float_because_that_is_faster(
    tmp_path: Path,
) -> None:
    image, table = keras.Input((8, 8, 2), name="image"), keras.Input((2,), name="table")
    x = keras.layers.Flatten()(keras.layers.Conv2D(2, 3, name="conv")(image))
    x = keras.layers.Concatenate()([x, keras.layers.Dense(2, name="dense")(table)])
    model = keras.Model([image, table], keras.layers.Dense(2, name="logits")(x))
    inputs = (
        Input("image", (8, 8, 2), 1.0, 0.0, "NHWC", "float32", "float32"),
        Input("table", (2,), 1.0, 0.0, "NC", "float32", "float32"),
    )
    signature = replace(SIGNATURE, input_shape=(), class_names=("a", "b"), inputs=inputs)
    write_float(tmp_path / "model.tflite", model, signature)
    content = (tmp_path / "model.tflite").read_bytes()
    found = litert.layers(content, BuildRequest(signature, "int8"))
    assert [each.name for each in found if each.reason] == ["conv"]


def test_nothing_blocks_it_where_the_package_is_installed() -> None:
    assert litert.build_blocker() is None
    assert litert.run_blocker() is None


@pytest.fixture
def engine_file(converted: Path, tmp_path: Path) -> Path:
    litert.build(converted / "model.int8.tflite", tmp_path / "engine.tflite", REQUEST)
    return tmp_path / "engine.tflite"


def test_the_engine_file_is_the_graph_and_perhaps_a_remark(
    converted: Path, engine_file: Path
) -> None:
    source = (converted / "model.int8.tflite").read_bytes()
    remark = engine_file.read_bytes().removeprefix(source)
    assert remark in ((b"", amx.WITHOUT_AMX) if amx.is_available() else (b"",))


def test_the_remark_does_not_change_what_the_engine_says(converted: Path, tmp_path: Path) -> None:
    source = converted / "model.int8.tflite"
    remarked = tmp_path / "engine.tflite"
    remarked.write_bytes(source.read_bytes() + amx.WITHOUT_AMX)
    with litert.Runner(source, SIGNATURE) as plain, litert.Runner(remarked, SIGNATURE) as other:
        np.testing.assert_array_equal(plain.infer(BATCH), other.infer(BATCH))


def test_building_refuses_a_file_that_does_not_load(converted: Path, tmp_path: Path) -> None:
    whole = (converted / "model.int8.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[:-100])
    with pytest.raises(EngineError, match=r"cannot run cut\.tflite .*Flatbuffer") as caught:
        litert.build(tmp_path / "cut.tflite", tmp_path / "engine.tflite", REQUEST)
    assert caught.value.hint == "run: pipeline run convert --force"
    assert not (tmp_path / "engine.tflite").exists()


@pytest.mark.parametrize("amx_use", ["with", "without"])
def test_the_probe_takes_a_latency_in_milliseconds(converted: Path, amx_use: str) -> None:
    begin = time.perf_counter()
    taken_ms = litert.probe(converted / "model.int8.tflite", amx_use, 0.02)
    assert 0 < taken_ms < 1000 * (time.perf_counter() - begin)


@pytest.mark.skipif(not amx.is_available(), reason="this processor has no AMX")
@pytest.mark.parametrize(("remark", "permitted"), [(amx.WITHOUT_AMX, False), (b"", True)])
def test_a_remark_in_the_file_keeps_litert_from_amx(
    converted: Path, tmp_path: Path, remark: bytes, permitted: bool
) -> None:
    file = tmp_path / "engine.tflite"
    file.write_bytes((converted / "model.int8.tflite").read_bytes() + remark)
    code = (
        "import sys; from pathlib import Path; from stages.engines import amx, litert; "
        "from tests.stages.graphs import SIGNATURE; "
        "litert.Runner(Path(sys.argv[1]), SIGNATURE).open(); print(amx.is_permitted())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file], cwd=ROOT, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == str(permitted)


def test_a_file_with_int8_input_and_output_is_fed_and_read_as_float(converted: Path) -> None:
    with (
        litert.Runner(converted / "model.int8.tflite", SIGNATURE) as float_outside,
        litert.Runner(converted / "int8_io.tflite", SIGNATURE) as int8_outside,
    ):
        logits = int8_outside.infer(BATCH)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, float_outside.infer(BATCH), atol=1e-6)


def test_memory_is_laid_out_anew_only_when_the_batch_size_changes(converted: Path) -> None:
    engine = litert.Runner(converted / "model.int8.tflite", SIGNATURE)
    with engine:
        engine.infer(BATCH)
        ((index, _),) = engine._inputs
        address = engine._interpreter.tensor(index)().ctypes.data
        engine.infer(BATCH)
        assert engine._interpreter.tensor(index)().ctypes.data == address
        assert engine._interpreter.get_input_details()[0]["shape"][0] == len(BATCH)


def test_values_are_rounded_to_levels_and_saturated() -> None:
    values = np.array([-9.0, -0.5, 0.0, 0.24, 0.26, 9.0], np.float32)
    levels = litert.quantize(values, tensor(np.int8, 0.5, -1))
    assert levels.tolist() == [-19, -2, -1, -1, 0, 17]
    assert litert.quantize(values, tensor(np.int8, 0.01, 0)).tolist()[::5] == [-128, 127]


@settings(deadline=None)
@given(
    levels=arrays(np.int8, 16),
    scale=st.floats(2**-13, 8, width=32),
    zero_point=st.integers(-128, 127),
)
def test_every_level_survives_the_way_to_float_and_back(
    levels: np.ndarray, scale: float, zero_point: int
) -> None:
    details = tensor(np.int8, scale, zero_point)
    values = litert.dequantize(levels, details)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(litert.quantize(values, details), levels)
