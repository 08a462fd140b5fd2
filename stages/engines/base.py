"""What an engine is: a file that was built, opened, fed with batches, and closed.

A module of this package is an engine if it has these four names and a row in registry.py.

    build_blocker() -> Blocker | None               why it cannot be built here, if so
    run_blocker() -> Blocker | None                 why it cannot be run here, if so
    build(source, out, request) -> BuildReport | None   write the engine file `out`
    Runner(file, signature, threads, gpu)           the Engine below

Nothing touches a device before `open`. Wrong arguments of callers are checked once: expected.py.

Engines of a CPU are also opened in processes of their own, to see what they take. Settings and
results, whose types take longer to make than a runtime takes to load, are imported in functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.engines import child
from stages.engines.expected import check_several, expected_inputs
from stages.engines.registry import ENGINES, Precision
from stages.errors import EngineError
from stages.errors.packages import install, missing, native_module, not_installed, reinstall

if TYPE_CHECKING:
    from stages.results.engines import LayerFacts
    from stages.settings import Gpu, TensorRT

Logits = NDArray[Any]
"""float32 (N, ...), or of several outputs (N,) with a field for each: Signature.joined."""
Images = NDArray[Any] | list[NDArray[Any]]
"""What Signature.feed gives: of several inputs a list, in their order."""


@dataclass(frozen=True)
class Blocker:
    """Why an engine cannot be built or run on this machine, and the command to change that."""

    reason: str
    fix: str


def missing_package(backend: str, *packages: str) -> Blocker | None:
    """Those of `packages` that are not installed, if any; by default all of the engine's row."""
    absent = missing(packages or ENGINES[backend].packages)
    return Blocker(not_installed(absent), install(absent)) if absent else None


def broken_package(backend: str, *packages: str) -> Blocker | None:
    """The first of `packages` that is installed but does not load, if any; by default of all.

    Each is imported in a child process, once per process: a library that is missing beside a
    runtime, or is of another version, may crash the process that loads it.
    """
    wanted = packages or ENGINES[backend].packages
    absent = missing(wanted)
    for package in wanted:
        fault = None if package in absent else child.import_fault(native_module(package))
        if fault is not None:
            return does_not_load(fault, package)
    return None


def does_not_load(fault: object, *packages: str) -> Blocker:
    """What is installed, and why it is of no use."""
    names = " or ".join(packages)
    return Blocker(f"{names} is installed but does not load: {fault}", reinstall(packages))


def _default_tensorrt() -> TensorRT:
    from stages.settings import TensorRT

    return TensorRT()


@dataclass(frozen=True)
class BuildRequest:
    """How an engine is to be built."""

    signature: Signature
    precision: Precision
    max_batch_size: int = 64
    batch_sizes: tuple[int, ...] = (1,)
    workspace_mib: int = 1024
    tensorrt: TensorRT = field(default_factory=_default_tensorrt)
    max_seconds: float = 0.4
    """Longest timing of one candidate, where a builder chooses by measuring."""

    @property
    def profiles(self) -> tuple[tuple[int, int, int], ...]:
        """Smallest, optimal and largest batch of every optimisation profile, the largest growing.

        Each of `batch_sizes` has its own, in which kernels are chosen for it; what lies between two
        runs in the larger one.
        """
        only = self.signature.batch_size
        if only:
            return ((only, only, only),)
        below = {size for size in self.batch_sizes if size < self.max_batch_size}
        return tuple((1, size, size) for size in sorted({*below, self.max_batch_size}))


@dataclass(frozen=True)
class BuildReport:
    """What a builder reports about an engine that it built."""

    layers: tuple[LayerFacts, ...] = ()
    remarks: tuple[str, ...] = ()
    """Sentences for the reader of the build's record."""
    kernels: int | None = None
    """How many one call starts, where the layers are all of them."""


class Engine(ABC):
    """An engine file and, between `open` and `close`, the runtime that executes it."""

    def __init__(
        self, file: Path, signature: Signature, threads: int = 1, gpu: Gpu | None = None
    ) -> None:
        """`threads` are of a CPU, `gpu` is how a GPU is fed and waited for."""
        self.file = file
        self.signature = signature
        self.threads = threads
        self._gpu = gpu
        self._is_open = False
        self._expected = expected_inputs(signature)

    @cached_property
    def gpu(self) -> Gpu:
        """How a GPU is fed and waited for."""
        from stages.settings import Gpu

        return self._gpu or Gpu()

    def open(self) -> None:
        """Load the file and take the memory it needs. Raises EngineError."""
        if not self.file.is_file():
            raise EngineError(f"no engine file {self.file.name!r}", "run: pipeline run build")
        self._open()
        self._is_open = True

    def close(self) -> None:
        """Free everything; closing twice is harmless."""
        self._is_open = False
        self._close()

    def infer(self, images: Images) -> Logits:
        """Run one batch: images (N, ..., C) of the signature's dtype, C-contiguous, or the list of
        those of several inputs -> what the network returns, float32 (N, ...), or with a field for
        each output.
        """
        if not self._is_open:
            raise EngineError(f"{self.file.name} is not open", "use it in a with statement")
        self._check(images)
        return self._infer(images)

    def infer_many(self, batches: Iterable[Images]) -> Iterator[Logits]:
        """The logits of each of `batches`, in order, as `infer` gives them.

        A GPU copies one batch while it computes another. The engine must stay open until the
        last result is taken, and run nothing else meanwhile.
        """
        if not self._is_open:
            raise EngineError(f"{self.file.name} is not open", "use it in a with statement")
        return self._infer_many(map(self._checked, batches))

    def time_parts(self, images: Images, calls: int) -> dict[str, float] | None:
        """Median milliseconds of the parts of a call, where the device reports them; else None.

        A GPU reports `h2d_ms`, `compute_ms`, `d2h_ms`, `enqueue_ms` and `resident_ms`: see
        cuda/stream.py.
        """
        return None

    @property
    def gpu_memory_mib(self) -> float | None:
        """GPU memory that opening it took; None on a CPU."""
        return None

    def layer_milliseconds(self, images: Images, calls: int) -> dict[str, float] | None:
        """Median milliseconds by layer, where the runtime reports them; else None."""
        return None

    def _checked(self, images: Images) -> Images:
        self._check(images)
        return images

    def _infer_many(self, batches: Iterable[Images]) -> Iterator[Logits]:
        return map(self._infer, batches)

    def _check(self, images: Images) -> None:
        if len(self._expected) == 1:
            self._expected[0].check(images, self.file)
        else:
            check_several(images, self._expected, self.file)

    def _expect(self, what: str, found: object, expected: object) -> None:
        """Close again a file whose `what` is not that of the signature. Raises EngineError."""
        if found != expected:
            self._close()
            raise EngineError(
                f"{self.file.name}: its {what} is {found}, expected {expected} by its signature",
                "files of two runs were mixed; run: pipeline run convert build --force",
            )

    def _expect_inputs(self, found: Mapping[str, tuple[Sequence[Any], str]]) -> None:
        """Close again a file whose inputs, by name with the shape of one sample and the type, are
        not those of the signature. Raises EngineError."""
        what = "set of inputs" if self.signature.inputs else "input"
        names = (", ".join(sorted(each)) for each in (found, self.signature.input_names))
        self._expect(what, *names)
        for own in self.signature.each_input:
            shape, dtype = found[own.input_name]
            of = f" of {own.input_name!r}" if self.signature.inputs else ""
            self._expect(f"image shape{of}", tuple(shape), own.input_shape)
            self._expect(f"input type{of}", dtype, own.dtype)

    def _expect_outputs(self, found: Mapping[str, Sequence[Any]]) -> None:
        """Close again a file whose outputs, by name with the shape for one image, are not those of
        the signature; a size that is no number, or negative, is open. Raises EngineError.

        Of one output the name alone: it cannot be taken for another one.
        """
        what = "set of outputs" if self.signature.heads else "output"
        names = (", ".join(sorted(each)) for each in (found, self.signature.output_names))
        self._expect(what, *names)
        for own in self.signature.each if self.signature.heads else ():
            expected, shape = own.shape_of_output, tuple(found[own.output_name])
            if len(shape) == len(expected):
                pairs = zip(shape, expected, strict=True)
                shape = tuple(wanted if _is_open(size) else size for size, wanted in pairs)
            self._expect(f"shape of {own.output_name!r}", shape, expected)

    def __enter__(self) -> Engine:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _infer(self, images: Images) -> Logits: ...

    @abstractmethod
    def _close(self) -> None: ...


def _is_open(size: Any) -> bool:
    return not isinstance(size, int) or size < 0


class EngineModule(Protocol):
    """The names of an engine module."""

    Runner: type[Engine]

    def build_blocker(self) -> Blocker | None: ...
    def run_blocker(self) -> Blocker | None: ...
    def build(self, source: Path, out: Path, request: BuildRequest) -> BuildReport | None: ...
