from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.engines import openvino
from stages.engines.base import BuildRequest
from stages.errors import EngineError
from tests.stages.graphs import SIGNATURE, images, reference

BATCH = SIGNATURE.preprocess(images(16))
ROOT = Path(__file__).parents[3]


def built(converted: Path, folder: Path, kind: str = "fp32") -> Path:
    file = folder / "engine.openvino"
    openvino.build(converted / f"model.{kind}.onnx", file, BuildRequest(SIGNATURE, "fp32"))
    return file


def test_nothing_blocks_it_where_the_package_is_installed() -> None:
    assert openvino.build_blocker() is None
    assert openvino.run_blocker() is None


def test_the_same_graph_is_the_same_file_whenever_it_is_built(
    converted: Path, tmp_path: Path
) -> None:
    """By its hash it is known whether it is to be timed anew."""
    first, later = tmp_path / "first.openvino", tmp_path / "later.openvino"
    openvino.write(converted / "model.int8.cpu.onnx", first)
    openvino.write(converted / "model.int8.cpu.onnx", later)
    assert first.read_bytes() == later.read_bytes()
    with zipfile.ZipFile(later) as archive:
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_float_stays_float32_where_the_processor_has_bfloat16(
    converted: Path, tmp_path: Path
) -> None:
    with openvino.Runner(built(converted, tmp_path), SIGNATURE) as engine:
        np.testing.assert_allclose(engine.infer(BATCH), reference("fp32", BATCH), atol=1e-5)


def test_the_int8_engine_agrees_with_the_meaning_of_its_graph(
    converted: Path, tmp_path: Path
) -> None:
    with openvino.Runner(built(converted, tmp_path, "int8.cpu"), SIGNATURE) as engine:
        np.testing.assert_allclose(engine.infer(BATCH), reference("int8.cpu", BATCH), atol=0.03)


def test_the_graph_is_compiled_anew_only_when_the_batch_size_changes(
    converted: Path, tmp_path: Path
) -> None:
    with openvino.Runner(built(converted, tmp_path), SIGNATURE) as engine:
        assert isinstance(engine, openvino.Runner)
        engine.infer(BATCH[:3])
        request = engine._request
        engine.infer(BATCH[3:6])
        assert engine._request is request
        engine.infer(BATCH[:4])
        assert engine._request is not request


def test_results_do_not_depend_on_the_number_of_threads(converted: Path, tmp_path: Path) -> None:
    file = built(converted, tmp_path)
    with (
        openvino.Runner(file, SIGNATURE, 1) as one,
        openvino.Runner(file, SIGNATURE, 2) as two,
    ):
        np.testing.assert_allclose(one.infer(BATCH), two.infer(BATCH), rtol=1e-5, atol=1e-5)


def test_a_graph_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"cannot load broken\.onnx") as caught:
        openvino.build(tmp_path / "broken.onnx", tmp_path / "e", BuildRequest(SIGNATURE, "fp32"))
    assert caught.value.hint == "run: pipeline run convert --force"


def test_building_does_not_take_amx_into_this_process(converted: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stages.engines import amx, openvino; "
        "from stages.engines.base import BuildRequest; from tests.stages.graphs import SIGNATURE; "
        "openvino.build(*map(Path, sys.argv[1:]), BuildRequest(SIGNATURE, 'int8')); "
        "sys.exit(amx.is_permitted())"
    )
    files = [converted / "model.int8.cpu.onnx", tmp_path / "engine.openvino"]
    subprocess.run([sys.executable, "-c", code, *files], cwd=ROOT, check=True)


def test_a_file_that_cannot_be_compiled_is_refused_when_it_is_built(tmp_path: Path) -> None:
    (tmp_path / "cut.openvino").write_bytes(b"PK")
    with pytest.raises(EngineError, match=r"cannot compile cut\.openvino .*damaged"):
        openvino.kernels(tmp_path / "cut.openvino")


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.openvino"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("photo.txt", "no graph")
    with pytest.raises(EngineError, match=r"cannot load other\.openvino: .* not one of its"):
        openvino.Runner(file, SIGNATURE).open()


def test_a_graph_that_this_release_cannot_read_is_refused_with_both_releases(
    converted: Path, tmp_path: Path
) -> None:
    file = tmp_path / "newer.openvino"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.xml", '<?xml version="1.0"?><net name="x" version="99"></net>')
        archive.writestr("model.bin", b"\0")
        archive.comment = b"2099.1"
    with pytest.raises(EngineError, match=r"OpenVINO 20.*newer\.openvino, written by 2099\.1"):
        openvino.Runner(file, SIGNATURE).open()


def test_an_engine_of_another_image_size_is_refused_when_it_is_opened(
    converted: Path, tmp_path: Path
) -> None:
    larger = replace(SIGNATURE, input_shape=(8, 8, 3))
    engine = openvino.Runner(built(converted, tmp_path), larger)
    with pytest.raises(EngineError, match=r"engine\.openvino: its image shape is"):
        engine.open()


def test_nothing_is_reported_to_its_makers(converted: Path, tmp_path: Path) -> None:
    """Imported as it comes, it sends an event and leaves an identity in the home folder."""
    code = (
        "import json, sys; from pathlib import Path; from stages.engines import openvino; "
        "from tests.stages.graphs import SIGNATURE; "
        "openvino.Runner(Path(sys.argv[1]), SIGNATURE).open(); "
        "print(json.dumps([name for name in sys.modules if 'openvino_telemetry.' in name]))"
    )
    file, home = built(converted, tmp_path), tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, file],
        cwd=ROOT,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == []
    assert list(home.iterdir()) == []


def test_building_tells_what_every_kernel_computes_in(converted: Path, tmp_path: Path) -> None:
    request = BuildRequest(SIGNATURE, "int8")
    layers = {}
    for kind in ("fp32", "int8.cpu"):
        source = converted / f"model.{kind}.onnx"
        report = openvino.build(source, tmp_path / "engine.openvino", request)
        layers[kind] = {layer.kind: layer for layer in report.layers}
    for kind, precision in (("fp32", "fp32"), ("int8.cpu", "int8")):
        conv = layers[kind]["Convolution"]
        assert (conv.requested, conv.executed) == (precision, precision)
        assert "conv" in "".join(conv.nodes)
        assert conv.tactic
        assert layers[kind]["FullyConnected"].executed == precision
    assert not set(openvino.NO_KERNELS) & set(layers["fp32"])
