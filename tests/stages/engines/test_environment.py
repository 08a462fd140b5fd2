from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from stages.engines import environment
from stages.errors.packages import reinstall
from stages.results.machine import MachineFacts

X86 = """processor	: 0
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) Gold 6338N CPU @ 2.20GHz
cpu MHz		: {mhz}
flags		: fpu vme avx avx2 f16c fma avx512f avx512_vnni hypervisor

processor	: 1
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) Gold 6338N CPU @ 2.20GHz
cpu MHz		: {mhz}
flags		: fpu vme avx avx2 f16c fma avx512f avx512_vnni hypervisor
"""
JETSON = """processor	: 0
model name	: ARMv8 Processor rev 1 (v8l)
Features	: fp asimd evtstrm aes asimdhp cpuid asimdrdm lrcpc asimddp uscat
CPU implementer	: 0x41
CPU part	: 0xd42
"""
GRAVITON = """processor	: 0
BogoMIPS	: 2100.00
Features	: fp asimd asimddp sve i8mm bf16
CPU implementer	: 0x41
CPU part	: 0xd40
"""
PROPRIETARY = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""
OPEN = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""
CARD = """Model: 		 NVIDIA {name}
IRQ:   		 63
GPU UUID: 	 GPU-????????-????-????-????-????????????
Bus Location: 	 0000:{bus}:00.0
"""
TEGRA = "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: Tue\n"


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """Empty stand-ins for /proc and /etc."""
    for name in ("proc", "etc"):
        (tmp_path / name).mkdir()
    return tmp_path / "proc", tmp_path / "etc"


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_an_x86_processor_is_described_by_model_cores_and_the_flags_that_matter(
    roots: tuple[Path, Path],
) -> None:
    write(roots[0], "cpuinfo", X86.format(mhz=2200))
    assert environment.describe(*roots).cpu.model_dump() == {
        "model": "Intel(R) Xeon(R) Gold 6338N CPU @ 2.20GHz",
        "cores": 2,
        "flags": ("avx", "avx2", "avx512_vnni", "avx512f", "f16c", "fma"),
    }


def test_the_clock_frequency_does_not_change_the_description(roots: tuple[Path, Path]) -> None:
    write(roots[0], "cpuinfo", X86.format(mhz=2200))
    before = environment.describe(*roots)
    write(roots[0], "cpuinfo", X86.format(mhz=3400))
    assert environment.describe(*roots) == before


def test_an_arm_processor_lists_its_features(roots: tuple[Path, Path]) -> None:
    write(roots[0], "cpuinfo", JETSON)
    cpu = environment.describe(*roots).cpu
    assert cpu.model == "ARMv8 Processor rev 1 (v8l)"
    assert cpu.flags == ("asimd", "asimddp", "asimdhp")


def test_an_arm_processor_without_a_name_is_known_by_its_part_number(
    roots: tuple[Path, Path],
) -> None:
    write(roots[0], "cpuinfo", GRAVITON)
    cpu = environment.describe(*roots).cpu
    assert cpu.model == "ARM implementer 0x41 part 0xd40"
    assert cpu.flags == ("asimd", "asimddp", "bf16", "i8mm", "sve")


def test_a_machine_without_proc_still_has_a_core_count(roots: tuple[Path, Path]) -> None:
    cpu = environment.describe(*roots).cpu
    assert (cpu.model, cpu.flags) == (None, ())
    assert cpu.cores >= 1


@pytest.mark.parametrize(("text", "driver"), [(PROPRIETARY, "535.129.03"), (OPEN, "560.35.03")])
def test_the_driver_version_is_read_from_both_kernel_modules(
    roots: tuple[Path, Path], text: str, driver: str
) -> None:
    write(roots[0], "driver/nvidia/version", text)
    assert environment.describe(*roots).gpu.driver == driver


def test_gpus_are_named_in_the_order_of_their_bus(roots: tuple[Path, Path]) -> None:
    write(roots[0], "driver/nvidia/gpus/0000:41:00.0/information", CARD.format(name="L4", bus=41))
    write(
        roots[0], "driver/nvidia/gpus/0000:01:00.0/information", CARD.format(name="H100", bus="01")
    )
    assert environment.describe(*roots).gpu.names == ("NVIDIA H100", "NVIDIA L4")


def test_a_jetson_is_named_by_its_board_and_release(roots: tuple[Path, Path]) -> None:
    write(roots[1], "nv_tegra_release", TEGRA)
    write(roots[0], "device-tree/model", "NVIDIA Orin Nano Developer Kit\0")
    gpu = environment.describe(*roots).gpu
    assert gpu.names == ("NVIDIA Orin Nano Developer Kit",)
    assert gpu.jetson_linux == "35.4.1"


def test_a_driver_that_names_no_gpu_leaves_it_to_nvidia_smi(
    roots: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(roots[0], "driver/nvidia/version", "NVRM version: NVIDIA Kernel Module  535.1.2  built\n")
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho NVIDIA A10\necho NVIDIA L4\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(environment, "SMI_SECONDS", 600.0)
    environment._names_of_smi.cache_clear()
    assert environment.describe(*roots).gpu.names == ("NVIDIA A10", "NVIDIA L4")
    program.write_text("#!/bin/sh\nexit 9\n")
    environment._names_of_smi.cache_clear()
    assert environment.describe(*roots).gpu.names == ()
    environment._names_of_smi.cache_clear()


def test_a_machine_without_a_gpu_names_none(roots: tuple[Path, Path]) -> None:
    gpu = environment.describe(*roots).gpu
    assert (gpu.names, gpu.driver, gpu.jetson_linux) == ((), None, None)


def test_which_gpus_cuda_may_see_is_part_of_the_description(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert environment.describe(*roots).gpu.visible == "1"


def test_installed_packages_are_listed_with_their_version_and_absent_ones_left_out() -> None:
    packages = environment.describe().packages
    assert packages == {name: version(name) for name in packages}
    assert {"numpy", "onnx", "onnxruntime"} <= set(packages)
    assert set(packages) <= set(environment.PACKAGES)
    assert None not in packages.values()


@pytest.mark.parametrize(
    "file", ["tensorrt-8.6.dist-info/METADATA", "tensorrt.egg-info/PKG-INFO", "tensorrt.egg-info"]
)
def test_a_version_is_read_wherever_a_package_tells_it(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, file, "Metadata-Version: 2.1\nName: tensorrt\nVersion: 8.6.1+cu12\n\nText\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert environment.describe().packages["tensorrt"] == version("tensorrt") == "8.6.1+cu12"


def test_tensorrt_has_its_version_under_whichever_name_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra `gpu-cu12` installs `tensorrt-cu12`: its version counts too."""
    folder = tmp_path / "tensorrt_cu12-10.3.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: tensorrt-cu12\nVersion: 10.3.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.describe().packages["tensorrt"] == "10.3.0"
    assert reinstall(["tensorrt"]) == "pip install --force-reinstall tensorrt-cu12"


def test_two_descriptions_of_this_machine_are_equal_and_fit_into_json() -> None:
    first = environment.describe()
    assert first == environment.describe()
    assert MachineFacts.model_validate_json(first.model_dump_json()) == first


def test_it_starts_no_process_and_imports_nothing_heavy() -> None:
    script = """
import sys
forbidden = {"subprocess.Popen", "os.system", "os.fork", "os.posix_spawn"}
started = []
sys.addaudithook(lambda event, _: started.append(event) if event in forbidden else None)
from stages.engines import environment
from stages.errors.packages import reinstall
environment.describe()
heavy = {"numpy", "rich", "tensorflow", "keras", "onnx", "onnxruntime", "tensorrt"}
print(started, sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] []"
