from __future__ import annotations

import shutil
import subprocess

import pytest

from stages.training import seen_gpus

SOURCE = """
int cudaRuntimeGetVersion(int *version) { *version = 12050; return 0; }
unsigned long cudnnGetVersion(void) { return CUDNN; }
"""


@pytest.fixture
def mapped(tmp_path, request):
    """As /proc/self/maps lists two libraries that answer as NVIDIA's do."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    (tmp_path / "library.c").write_text(SOURCE)
    lines = []
    for name in ("libcudart.so.12", "libcudnn.so.9"):
        options = ["-shared", "-fPIC", f"-DCUDNN={request.param}", "-o", tmp_path / name]
        subprocess.run(["cc", *options, tmp_path / "library.c"], check=True)
        lines.append(f"7f0000-7f1000 r-xp 00000000 08:01 42    {tmp_path / name}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("mapped", "cudnn"), [(91002, "9.10.2"), (8907, "8.9.7")], indirect=["mapped"]
)
def test_the_libraries_themselves_say_their_versions(mapped, cudnn):
    assert seen_gpus.cuda_version(mapped) == "12.5"
    assert seen_gpus.cudnn_version(mapped) == cudnn


def test_what_is_not_loaded_has_no_version():
    mapped = "7f0000-7f1000 r-xp 00000000 08:01 42    /usr/lib/libcuda.so.1"
    assert seen_gpus.cuda_version(mapped) is None
    assert seen_gpus.cudnn_version(mapped) is None
