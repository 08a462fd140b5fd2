from __future__ import annotations

import runpy
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.checks import tensorflow_build
from stages.results.asides import TensorFlowFacts

WRITTEN = "import collections\nbuild_info = collections.OrderedDict([{}])\n"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            "('cuda_version', '12.5.1'), ('is_cuda_build', True), ('is_rocm_build', False)",
            "CUDA 12.5.1",
        ),
        ("('is_cuda_build', False), ('is_rocm_build', True), ('rocm_version', '6.4')", "ROCm 6.4"),
        ("('is_cuda_build', True), ('is_rocm_build', True)", "ROCm"),
        ("('is_cuda_build', False), ('is_rocm_build', False)", "the CPU alone"),
        ("", "an unknown device"),
    ],
)
def test_what_tensorflow_was_built_for_is_read_from_its_file(
    tmp_path: Path, facts: str, words: str
) -> None:
    file = tmp_path / tensorflow_build.FILE
    file.parent.mkdir(parents=True)
    file.write_text(WRITTEN.format(facts))
    assert tensorflow_build.built_for(tmp_path) == words


def test_it_is_what_tensorflows_own_module_says() -> None:
    spec = find_spec("tensorflow")
    assert spec is not None
    assert spec.origin is not None
    info = runpy.run_path(str(Path(spec.origin).parent / tensorflow_build.FILE))["build_info"]
    cuda = f"CUDA {info.get('cuda_version')} and cuDNN {info.get('cudnn_version')}"
    expected = cuda if info["is_cuda_build"] else "the CPU alone"
    assert tensorflow_build.describe() == f"{version('tensorflow')}, built for {expected}"


def test_what_it_loads_and_sees_is_told_in_words() -> None:
    facts = TensorFlowFacts(gpus=("NVIDIA A10",), loaded_cuda="12.5", loaded_cudnn="9.10.2")
    assert tensorflow_build.in_words(facts) == (
        "loads CUDA 12.5 and cuDNN 9.10.2, sees 1 GPU: NVIDIA A10"
    )
    lacking = TensorFlowFacts(loaded_cuda="12.5")
    assert tensorflow_build.in_words(lacking) == "loads CUDA 12.5 and no cuDNN, sees no GPU"
