"""Everything that is to be known of a GPU machine, in one command whose results survive.

    python benchmarks/gpu_day.py --out DIR --networks NETWORKS [--minutes 25] [--resume]

NETWORKS is a folder of gpu_prepare.py. The most valuable steps come first. Each is a child process
with a time limit, adds to files in DIR/raw as soon as something is known, and ends with a line
RESULT here and in DIR/raw/steps.jsonl. After every step DIR/summary.md and the archives
DIR/day-N.tar.gz are written anew: at most four of at most 15 MB. With --resume, steps that have
ended are not repeated; those for which the minutes were too few go on. Needs neither Keras nor the
internet.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.append(str(ROOT))  # a GPU host may have no more than the checkout

import gpu  # noqa: E402
import gpu_rows  # noqa: E402

ARCHIVES, ARCHIVE_BYTES, HEADER_BYTES = 4, 15_000_000, 1024
SAID = 300
PRECISIONS = ("int8", "fp16", "fp8", "fp32", "bf16")
LATER = ("fp32", "bf16")
BATCH_SIZES = (1, 64, 8, 32, 256)
FIRST, LATE = "resnet50", ("mobilenetv2", "resnet8", "ds_cnn", "mnist_cnn")
PIPELINE = "default_cnn"
PREPARED_TESTS = "tests/stages/engines/tensorrt/test_prepared.py"


@dataclass(frozen=True)
class Step:
    """A command, the seconds that it may take, and what must be there before it starts."""

    name: str
    seconds: float
    words: tuple[object, ...]
    environment: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None


def plan(options: Any, raw: Path) -> Iterator[Step]:
    """All steps, the most valuable first."""
    found = sorted(
        file.parents[1].name for file in options.networks.glob("*/convert/signature.json")
    )
    networks = list(dict.fromkeys(found))
    late = [name for name in (*LATE, *networks) if name in networks]
    late = [name for name in dict.fromkeys(late) if name not in (FIRST, PIPELINE)]
    yield from machine()
    tests = list(gpu_tests())
    yield from (tests_of(file, options) for file in tests if file != PREPARED_TESTS)
    if FIRST in networks:
        yield engines(FIRST, "first", 420, options, raw, few=True)
    if PIPELINE in networks:
        yield engines(PIPELINE, "all", 240, options, raw)
        yield pipeline(PIPELINE, options, raw)
    yield from (engines(name, "all", 240, options, raw) for name in late)
    if FIRST in networks:
        yield engines(FIRST, "all", 420, options, raw)
    for name in (FIRST, PIPELINE, *late):
        if name in networks:
            yield from peers(name, options, raw)
    yield from (tests_of(file, options) for file in tests if file == PREPARED_TESTS)


def machine() -> Iterator[Step]:
    """What this machine is: the answers are in the steps' logs."""
    yield Step("nvidia-smi", 30, ("nvidia-smi", "-q"))
    yield Step("lscpu", 10, ("lscpu",))
    yield Step("nvcc", 10, ("nvcc", "--version"))


def gpu_tests() -> Iterator[str]:
    """The files with tests for GPUs."""
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        if "pytest.mark.gpu" in file.read_text():
            yield file.relative_to(ROOT).as_posix()


def tests_of(file: str, options: Any) -> Step:
    """`pytest -m gpu` on one file: a crash costs no other file."""
    words = (sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "--maxfail=20")
    given = {"PREPARED_NETWORKS": str(options.networks)}
    return Step(f"tests.{Path(file).stem}", 240, (*words, ROOT / file), given)


def engines(
    network: str,
    which: str,
    seconds: float,
    options: Any,
    raw: Path,
    few: bool = False,
) -> Step:
    """gpu.py on one network; `few` leaves precisions and all but two batch sizes for later."""
    precisions, sizes = options.precisions, options.batch_sizes
    if few:
        precisions, sizes = [each for each in precisions if each not in LATER], sizes[:2]
    words = [sys.executable, HERE / "gpu.py", options.networks / network / "convert"]
    words += ["--rows", raw / f"{network}.jsonl", "--seconds", options.seconds]
    words += ["--precisions", *precisions, "--batch-sizes", *sizes]
    words += ["--minutes", seconds / 60, "--limit", 0.6 * seconds, "--backends", *options.backends]
    return Step(f"engines.{network}.{which}", seconds, tuple(words))


def pipeline(network: str, options: Any, raw: Path) -> Step:
    """The stages build and benchmark, as a user runs them, with their report."""
    artifacts = raw / f"pipeline.{network}"
    words = [sys.executable, "-m", "pipeline", "run", "build", "benchmark"]
    words += ["--artifacts", artifacts, *(word for each in options.set for word in ("--set", each))]
    return Step(
        f"pipeline.{network}",
        300,
        tuple(words),
        before=lambda: shutil.copytree(options.networks / network, artifacts, dirs_exist_ok=True),
    )


def peers(network: str, options: Any, raw: Path) -> Iterator[Step]:
    """ONNX Runtime's CUDA provider and torch.compile on the same graphs."""
    words = (options.networks / network / "convert", raw / f"{network}.peers.jsonl")
    words = (*words, "--seconds", options.seconds)
    yield Step(f"peers.{network}", 120, (sys.executable, HERE / "gpu_peers.py", *words))
    yield Step(f"torch.{network}", 240, (sys.executable, HERE / "gpu_torch.py", *words))


def perform(step: Step, raw: Path, seconds_left: float) -> dict[str, Any]:
    """Run a step, and tell how it ended: a row of steps.jsonl. Nothing that fails ends the day."""
    log, start = raw / f"{step.name}.log", time.monotonic()
    limit = min(step.seconds, seconds_left)
    try:
        step.before()
        reason = gpu_rows.run(step.words, limit, log, **step.environment)
        last = next(iter(log.read_text(errors="replace").strip().splitlines()[-1:]), "")
    except Exception as error:
        reason, last = f"{type(error).__name__}: {error}", ""
    cut_short = reason.startswith(gpu_rows.STOPPED) and limit < step.seconds
    return {
        "step": step.name,
        "seconds": round(time.monotonic() - start, 1),
        "ended": not cut_short and not reason.startswith(f"ended with {gpu.UNFINISHED}:"),
        "reason": reason,
        "last_line": last[:200],
    }


def result(row: dict[str, Any]) -> str:
    """The line RESULT of a step."""
    verdict = "failed" if row["reason"] else "ok"
    verdict = verdict if row["ended"] else "unfinished"
    said = " ".join((row["reason"] or row["last_line"]).split())
    return f"RESULT {row['step']} {verdict} {row['seconds']} s: {said[-SAID:]}"


def summarize(raw: Path) -> str:
    """Tables of all that is known by now, in Markdown."""
    parts = ["# A day on a GPU\n"]
    for file in sorted(raw.glob("*.jsonl")):
        if file.name == "steps.jsonl":
            continue
        rows = gpu_rows.read(file, *gpu.KEYS)
        timed = [row for row in rows if "infer_p50_ms" in row]
        parts += [f"## {file.stem}\n", gpu.table(timed), ""]
        parts += [f"- {', '.join(names)}: {fault}" for fault, names in faults(rows).items()]
    parts += ["\n## Steps\n", *(f"- {result(row)}" for row in gpu_rows.read(raw / "steps.jsonl"))]
    return "\n".join(parts) + "\n"


def faults(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What failed, and for which engines."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for key, value in row.items():
            if key == "reason" or key.endswith("_failed"):
                fault = f"{key}: {' '.join(value.split())[:SAID]}"
                found.setdefault(fault, []).append(f"{row['engine']} b{row['batch']}")
    return found


def pack(raw: Path, out: Path, largest: int = ARCHIVE_BYTES) -> list[str]:
    """Write DIR/day-N.tar.gz, small files first; the names of those that found no room."""
    files = sorted(filter(Path.is_file, raw.rglob("*")), key=_size_and_name)
    parts: list[list[Path]] = [[]]
    room, left_out = largest, []
    for file in [out / "summary.md", *files]:
        cost = len(zlib.compress(file.read_bytes())) + HEADER_BYTES
        if room < cost <= largest and len(parts) < ARCHIVES:
            parts.append([])
            room = largest
        if cost > room:
            left_out.append(str(file.relative_to(out)))
            continue
        parts[-1].append(file)
        room -= cost
    for number, part in enumerate(parts, start=1):
        draft = out / "draft"
        with tarfile.open(draft, "w:gz") as archive:
            for file in part:
                archive.add(file, file.relative_to(out))
        draft.replace(out / f"day-{number}.tar.gz")
    return left_out


def _size_and_name(file: Path) -> tuple[int, Path]:
    return file.stat().st_size, file


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; those of the process without `words`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--backends", nargs="+", default=["tensorrt", "tensorrt_rtx"])
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=BATCH_SIZES)
    parser.add_argument("--seconds", type=float, default=1.5, help="of timing per engine")
    parser.add_argument("--set", action="append", default=[], help="settings for `pipeline run`")
    options = parser.parse_args(words)
    options.networks, options.out = options.networks.resolve(), options.out.resolve()
    if not any(options.networks.glob("*/convert/signature.json")):
        parser.error(f"{options.networks} holds no networks: make them with gpu_prepare.py")
    if (options.out / "raw").exists() and not options.resume:
        parser.error(
            f"{options.out / 'raw'} is there already: add --resume, or name another folder"
        )
    return options


def main() -> None:
    options = parsed()
    out, raw, end = options.out, options.out / "raw", time.monotonic() + 60 * options.minutes
    raw.mkdir(parents=True, exist_ok=True)
    ended = {row["step"] for row in gpu_rows.read(raw / "steps.jsonl") if row["ended"]}
    for step in plan(options, raw):
        left = end - time.monotonic()
        if step.name in ended:
            continue
        if left <= 0:
            print(f"RESULT {step.name} not started: no minutes are left", flush=True)
            continue
        row = perform(step, raw, left)
        gpu_rows.append(raw / "steps.jsonl", row)
        print(result(row), flush=True)
        try:
            (out / "summary.md").write_text(summarize(raw))
            for name in pack(raw, out):
                print(f"RESULT {name} found no room in the archives", flush=True)
        except Exception as error:
            print(f"RESULT archives failed: {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main()
