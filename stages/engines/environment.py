"""What a measurement depends on besides its inputs: processor, GPU and package versions.

The description is hashed into the keys of `build` and `benchmark`, so it holds nothing that
changes by itself between two runs: no load, no clock frequency, no uptime.
"""

from __future__ import annotations

import functools
import os
import platform
import re
from pathlib import Path

from stages.engines.registry import ENGINES
from stages.errors.packages import distribution
from stages.results.machine import CpuFacts, GpuFacts, MachineFacts

PACKAGES = tuple(
    dict.fromkeys(
        (
            *(
                "keras-trt-pipeline",
                "tensorflow",
                "tensorflow-rocm",
                "keras",
                "onnx",
                "tf2onnx",
                "numpy",
            ),
            *(package for engine in ENGINES.values() for package in engine.packages),
        )
    )
)

INT8_FLAGS = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm")
"""Instruction sets with an INT8 dot product; without one, INT8 saves memory more than time."""

SMI_SECONDS = 10.0

FLAGS = frozenset(
    {"avx", "avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_fp16"}
    | {"amx_bf16", "amx_fp16", "asimd", "asimdhp", "bf16", "sve", "sve2", "sme"}
    | {*INT8_FLAGS}
)
"""Instruction sets that decide which kernels a runtime picks, by their names in /proc/cpuinfo."""


def describe(proc: Path = Path("/proc"), etc: Path = Path("/etc")) -> MachineFacts:
    """Describe this machine in a few milliseconds: no CUDA, no heavy import, and no subprocess but
    nvidia-smi where there is a driver that names no GPU.

    `proc` and `etc` are the roots that Linux' files are read from. What is unknown is None or
    left out: without `/proc` (macOS) the cpu has its core count only.
    """
    return MachineFacts(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=_cpu(_text(proc / "cpuinfo")),
        gpu=_gpu(proc, etc),
        packages=_packages(),
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu(cpuinfo: str) -> CpuFacts:
    """Model, logical cores and flags; x86 lists `flags`, ARM lists `Features`."""
    pairs = re.findall(r"^([^:\n]*?)[ \t]*:[ \t]*(.*)$", cpuinfo, re.MULTILINE)
    first = dict(reversed(pairs))  # the first core's value of every key
    names = set(f"{first.get('flags', '')} {first.get('Features', '')}".split())
    return CpuFacts(
        model=first.get("model name") or _arm_part(first),
        cores=sum(key == "processor" for key, _ in pairs) or os.cpu_count(),
        flags=tuple(sorted(FLAGS & names)),
    )


def _arm_part(first: dict[str, str]) -> str | None:
    """ARM kernels name no model; implementer and part number identify the core."""
    if "CPU part" not in first:
        return None
    return f"ARM implementer {first.get('CPU implementer', '?')} part {first['CPU part']}"


def _gpu(proc: Path, etc: Path) -> GpuFacts:
    """NVIDIA's driver and GPUs in PCI order, or the Jetson board and its Linux for Tegra."""
    driver = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", _text(proc / "driver/nvidia/version"))
    cards = sorted((proc / "driver/nvidia/gpus").glob("*/information"))
    models = [re.search(r"^Model:\s*(.+?)\s*$", _text(card), re.MULTILINE) for card in cards]
    names = [model[1] for model in models if model]
    tegra = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", _text(etc / "nv_tegra_release"))
    if tegra and not names:
        names = [_text(proc / "device-tree/model").rstrip("\0 \n") or "NVIDIA Jetson"]
    if driver and not names:
        names = list(_names_of_smi())
    return GpuFacts(
        names=tuple(names),
        driver=driver[1] if driver else None,
        jetson_linux=f"{tegra[1]}.{tegra[2]}" if tegra else None,
        # decides which of several GPUs an engine is built for
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


@functools.cache
def _names_of_smi() -> tuple[str, ...]:
    """For containers that hide /proc/driver: the name is part of the key of an engine."""
    import subprocess  # rarely needed, and every command describes the machine

    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=SMI_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(done.stdout.strip().splitlines()) if done.returncode == 0 else ()


METADATA = ("METADATA", "PKG-INFO", "")
"""Files in which a package tells its version, as importlib.metadata looks for them."""


def _packages() -> dict[str, str]:
    """As importlib.metadata.version has them, which parses the whole description of each."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        if package := distribution(name):
            text = next(filter(None, map(package.read_text, METADATA)), "")
            if line := re.search(r"^Version: *(\S+)", text, re.MULTILINE):
                versions[name] = line[1]
    return versions
