"""What TensorFlow itself sees of the GPUs of this host, and of the libraries that it needs there.

Asked in a child process by `pipeline doctor`: importing TensorFlow takes seconds, and where its
libraries do not fit it may crash.
"""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

from stages.results.asides import TensorFlowFacts

MAPPED = Path("/proc/self/maps")


def tell() -> None:
    """Print what TensorFlow sees, as one line of JSON."""
    gc.disable()  # Importing TensorFlow takes a fifth longer with searches for garbage.
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")  # loads CUDA and cuDNN, where there are any
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    mapped = MAPPED.read_text() if MAPPED.exists() else ""
    facts = TensorFlowFacts(
        gpus=tuple(each.get("device_name", "a GPU") for each in details),
        loaded_cuda=cuda_version(mapped),
        loaded_cudnn=cudnn_version(mapped),
    )
    print(facts.model_dump_json())
    gc.freeze()  # Nor need it be searched a last time.


def cuda_version(mapped: str) -> str | None:
    """ "12.5" for 12050, as the CUDA runtime among the `mapped` files says; None without it."""
    library = _library("libcudart", mapped)
    number = ctypes.c_int()
    if library is None or library.cudaRuntimeGetVersion(ctypes.byref(number)) != 0:
        return None
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def cudnn_version(mapped: str) -> str | None:
    """ "9.10.2" for 91002, and "8.9.7" for 8907, as cuDNN itself says; None without it.

    cuDNN's header cudnn_version.h: major * 10000 + minor * 100 + patch from 9 on, with 1000 before.
    """
    library = _library("libcudnn", mapped)
    if library is None:
        return None
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = library.cudnnGetVersion()
    major, rest = divmod(number, 10_000 if number >= 90_000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _library(name: str, mapped: str) -> ctypes.CDLL | None:
    """The library that this process has loaded already: /proc/self/maps names its file."""
    found = re.search(rf"(/\S*/{name}\.so\S*)$", mapped, re.MULTILINE)
    return ctypes.CDLL(found[1]) if found else None
