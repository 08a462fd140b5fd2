from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.checks import tensorflow_build

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


def test_it_is_what_tensorflow_itself_says() -> None:
    code = (
        "import tensorflow as tf; info = tf.sysconfig.get_build_info();"
        "print(tf.__version__, info['is_cuda_build'], info.get('cuda_version', ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, is_cuda, *cuda = done.stdout.split()
    expected = f"CUDA {cuda[0]}" if is_cuda == "True" else "the CPU alone"
    assert tensorflow_build.describe() == f"{version}, built for {expected}"
