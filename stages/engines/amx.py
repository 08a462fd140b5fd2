"""AMX, the matrix unit of newer Intel processors: how to keep a library from using it.

LiteRT's XNNPACK computes every INT8 layer with AMX where it finds it. Its tiles of 16 x 64
values stay mostly empty in a net with few channels, and the net is slower than without: 3 times
at 16 channels, while at 128 it is 3 times faster (measured on a Sapphire Rapids). So the
build of a LiteRT engine tries both. ONNX Runtime gains nothing from AMX on such nets, and is kept
from taking it for the whole process. OpenVINO gains at every width and always takes it; since it is
granted to a whole process, engines that run without are opened first (`records.opening_order`).

A library has to ask Linux for the tiles' memory, and Linux refuses as long as a thread has an
alternate signal stack that is too small to save them ("AMX TMM component enabling" and the
remarks on signal stacks in the kernel's Documentation/arch/x86/xstate.rst). Libraries ask once,
when they are first used, and remember the answer.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STACK_BYTES = 8192
"""Too small for the 8 KiB of tiles with the rest of a signal frame, enough without them."""

WITHOUT_AMX = b"\0faster without AMX"
"""Appended to an engine file that is to be run without AMX."""

ARCH_GET_XCOMP_PERM = 0x1022
ARCH_PRCTL = 158
TILE_DATA = 18


class _SignalStack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


@functools.cache
def is_available() -> bool:
    """Whether this machine's processor and kernel offer AMX for INT8 (only Linux on x86-64)."""
    try:
        return re.search(r"\bamx_int8\b", Path("/proc/cpuinfo").read_text()) is not None
    except OSError:
        return False


def is_permitted() -> bool:
    """Whether this process has been granted the memory for tiles, so that AMX is in use."""
    if not is_available():
        return False
    granted = ctypes.c_uint64(0)
    ctypes.CDLL(None).syscall(ARCH_PRCTL, ARCH_GET_XCOMP_PERM, ctypes.byref(granted))
    return bool(granted.value >> TILE_DATA & 1)


def is_unwanted(file: Path) -> bool:
    """Whether the engine file says that it is to be run without AMX."""
    return file.read_bytes().endswith(WITHOUT_AMX)


@contextmanager
def without_amx() -> Iterator[None]:
    """A library that is first used in here runs without AMX, unless another has it already."""
    if not is_available():
        yield
        return
    libc = ctypes.CDLL(None)
    # Named, so that it lives until the stack is set back: Linux keeps its bare address.
    memory = ctypes.create_string_buffer(STACK_BYTES)
    small, before = _SignalStack(ctypes.addressof(memory), 0, STACK_BYTES), _SignalStack()
    is_set = libc.sigaltstack(ctypes.byref(small), ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if is_set:
            libc.sigaltstack(ctypes.byref(before), None)
