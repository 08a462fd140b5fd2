"""Artifacts in, a bundle out: the folder or archive that `pipeline export` writes."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle import answers, contents, program, triton
from pipeline.bundle.contents import Bundle, BundledFile, Input, Measurements, Output
from pipeline.core.hashing import hash_file
from pipeline.core.plan import Plan
from pipeline.core.record import Record
from pipeline.core.store import Store
from pipeline.report import contents as sections
from pipeline.report import markdown
from pipeline.results import summary
from pipeline.results.assemble import assemble
from pipeline.results.model import EngineReport, Report
from stages.artifacts.signature import Signature
from stages.engines import files, records
from stages.engines.registry import ENGINES, EngineName
from stages.engines.tensorrt import weights
from stages.errors import ArtifactError, EngineError, SettingsError, nearest, shown, suggestion
from stages.measurement import accuracy, parity
from stages.numerics import fields
from stages.results.engines import BenchmarkDetails, BuildDetails

SAMPLES = 4
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip archive can hold: the same build gives the same bytes."""

MODES: Mapping[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Export:
    """What is to be exported; without `engine` and `batch_size`, what `build` chose."""

    to: Path
    engine: str | None = None
    batch_size: int | None = None
    format: str = "folder"


def export(request: Export, artifacts: Path, plan: Plan) -> Bundle:
    """Write a bundle of an engine of `artifacts` to `request.to`, whole or not at all.

    Raises ArtifactError without a build or for a damaged one, SettingsError for an engine that is
    not there, and for a path that exists.
    """
    if os.path.lexists(request.to):
        raise SettingsError(
            f"{str(request.to)!r} exists, and is not overwritten", "name a path that does not exist"
        )
    store = Store(artifacts, plan)
    record = store.read("build")
    if record is None:
        raise ArtifactError(
            f"nothing to export: no engine was built in {str(artifacts)!r}",
            "run: pipeline run all, or name the folder with --artifacts",
        )
    if damage := store.damage("build", record, in_full=True):
        raise ArtifactError(f"{damage[0]}; it is not exported", "run: pipeline run build")
    report = assemble(store.read_all(stage.name for stage in plan)[0], {})
    engine, threads = _wanted(report, request)
    refuse_equal_columns(Signature.read(store.folder("build")))
    if request.format == "triton":
        is_stripped = str(weights.beside(Path(str(engine.file)))) in record.files
        triton.check(engine.name, Signature.read(store.folder("build")), is_stripped)
    parent = request.to.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=parent) as draft:
            folder = Path(draft, "bundle")
            if request.format == "triton":
                triton.write_program(folder, engine.backend)
            bundle = _fill(folder, store.folder("build"), record, report, engine, threads)
            if request.format == "triton":
                sizes = record.setting("build.batch_sizes")
                folder = triton.repository(folder, bundle, sizes, Path(draft, "models"))
            _deliver(folder, request)
    except OSError as error:
        raise ArtifactError(
            f"cannot write to {str(request.to)!r}: {error.strerror}", "choose another path"
        ) from error
    return bundle


def refuse_equal_columns(signature: Signature) -> None:
    """Raises SettingsError where answers by name would lose one of two."""
    starts = [f"{name}." if signature.heads else "" for name in signature.output_names]
    counted = Counter(
        f"{start}{column}"
        for start, each in zip(starts, signature.each, strict=True)
        for column in answers.columns(each.task, each.class_names)
    )
    if twice := [name for name, count in counted.items() if count > 1]:
        names = [name for each in signature.each for name in each.class_names]
        raise SettingsError(
            f"two columns of the answers would be called {shown(twice[0])}, from the names "
            f"{', '.join(map(shown, names))}",
            "train with other names: --set data.class_names=...",
        )


def _wanted(report: Report, request: Export) -> tuple[EngineReport, int]:
    """The engine to export, and with how many threads it was chosen."""
    details = report.details(BuildDetails)
    choice = details.choice.chosen if details and details.choice else {}
    if request.batch_size is not None and request.batch_size not in choice:
        raise SettingsError(
            f"no engine was chosen for batch size {request.batch_size}, expected one of: "
            f"{', '.join(map(str, choice)) or 'none, as no engine ran here'}",
            "choose one for it: --set build.batch_sizes=..., or name it with --engine",
        )
    size = request.batch_size or min(choice, default=None)
    chosen = choice[size] if size else None
    name = request.engine or (chosen.engine if chosen else None)
    built = {str(each.name): each for each in report.engines if each.file}
    if name is None:
        raise SettingsError(
            "build chose no engine, as none ran on this machine",
            f"name one with --engine: {', '.join(built)}",
        )
    if name not in built:
        raise SettingsError(
            f"no engine {name!r} was built{suggestion(nearest(name, built))}",
            f"engines: {', '.join(built)}",
        )
    return built[name], chosen.threads if chosen and chosen.engine == name else 1


def _fill(
    folder: Path,
    source: Path,
    record: Record,
    report: Report,
    engine: EngineReport,
    threads: int,
) -> Bundle:
    """Write every file of the bundle into the new `folder`; bundle.json last."""
    signature = Signature.read(source)
    (folder / contents.SAMPLES).mkdir(parents=True)
    for name in files.of_engine(str(engine.file), record.files):
        shutil.copyfile(source / name, folder / name)
    if signature.class_names and signature.task != "regression":
        labels = "".join(f"{name}\n" for name in signature.class_names)
        (folder / contents.LABELS).write_text(labels, encoding="utf-8")
    _write_samples(folder, source, engine, signature)
    mode, output = _mode(signature), _output(signature)
    inputs = tuple(_input(own, mode) for own in signature.each_input)
    only = None if signature.inputs else inputs[0]
    has_masks = any(each.task == "segmentation" for each in signature.each)
    packages = _packages(engine.name, record, bool(mode) or has_masks)
    tasks = [each.task for each in signature.each]
    read: program.Read = "several" if signature.inputs else "pictures" if mode else "arrays"
    if text := program.source(engine.backend, tasks, read):
        (folder / contents.PROGRAM).write_text(text, encoding="utf-8")
    lines = (f"{name}=={version}\n" for name, version in packages.items())
    (folder / contents.REQUIREMENTS).write_text("".join(lines))
    (folder / contents.REPORT).write_text("\n".join(_first_page(report)) + "\n", encoding="utf-8")
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    run = summary.summarize(report)
    bundle = Bundle(
        bundle_version=_version(signature),
        made_with=f"keras-trt-pipeline {record.packages['keras-trt-pipeline']}",
        network=run.model or "unknown",
        data=run.dataset or run.settings.get("data", {}).get("name"),
        engine=BundledFile(
            backend=engine.backend,
            precision=engine.precision,
            file=str(engine.file),
            threads=threads,
            max_batch_size=_max_batch_size(engine, record),
            packages=packages,
        ),
        input=only,
        inputs=inputs if signature.inputs else (),
        output=output,
        outputs=tuple(map(_output, signature.each)) if signature.heads else (),
        built_on=report.environment.model_validate(record.environment),
        measured=_measurements(report, engine),
        files={path.relative_to(folder).as_posix(): hash_file(path) for path in written},
    )
    contents.write(bundle, folder)
    return bundle


def _version(signature: Signature) -> Literal[3, 4, 5]:
    if signature.inputs:
        return contents.OF_SEVERAL_INPUTS
    return contents.OF_SEVERAL if signature.heads else contents.VERSION


def _input(signature: Signature, mode: Literal["L", "RGB"] | None) -> Input:
    return Input(
        name=signature.input_name,
        shape=signature.input_shape,
        dtype="uint8" if signature.dtype == "uint8" else "float32",
        data_dtype=signature.data_dtype,
        layout=signature.layout,
        batch_size=signature.batch_size,
        scale=signature.scale,
        offset=signature.offset,
        mode=mode,
    )


def _mode(signature: Signature) -> Literal["L", "RGB"] | None:
    """Of image files; None where none holds what the network takes."""
    return MODES.get(signature.input_shape[-1]) if signature.are_pictures else None


def _output(signature: Signature) -> Output:
    return Output(
        name=signature.output_name,
        kind=signature.output,
        classes=signature.class_names,
        task=signature.task,
        shape=() if signature.heads else signature.shape_of_output,
        thresholds=signature.thresholds,
    )


def _write_samples(folder: Path, source: Path, engine: EngineReport, signature: Signature) -> None:
    """Some test images, as PNG where an image file can hold them, and the engine's outputs."""
    with np.load(source / "samples.npz") as samples:
        images = samples["images"][:SAMPLES]
        reference = parity.reference(engine.name)
        simulated = samples[reference][:SAMPLES] if reference in samples else None
    for index, values in enumerate(images):
        _write_sample(values, folder / contents.SAMPLES / f"{index}", _mode(signature))
    expected = _outputs(source, engine, signature, images)
    if expected is None:
        expected = simulated
    if expected is not None:
        np.save(folder / contents.EXPECTED, expected)


def _write_sample(values: NDArray[Any], stem: Path, mode: str | None) -> None:
    if names := fields.names(values):
        # Not by np.savez, whose own parameters no input could be called as.
        with zipfile.ZipFile(stem.with_suffix(".npz"), "w") as archive:
            for name in names:
                with archive.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w") as stream:
                    np.lib.format.write_array(stream, np.asarray(values[name]), allow_pickle=False)
        return
    if mode is None:
        np.save(stem.with_suffix(".npy"), values)
        return
    from PIL import Image

    Image.fromarray(values.squeeze()).save(stem.with_suffix(".png"))


def _outputs(
    source: Path, engine: EngineReport, signature: Signature, images: NDArray[Any]
) -> NDArray[np.float32] | None:
    """What the engine says of `images`; None where it does not run on this machine."""
    try:
        with records.runner(engine, source, signature, 1) as runner:
            return accuracy.logits(runner, images, 1)
    except EngineError:
        return None


def _packages(engine: EngineName, record: Record, has_images: bool) -> dict[str, str]:
    """What the program needs, in the versions that were measured."""
    wanted = [*ENGINES[engine.backend].packages, "numpy"]
    measured = record.packages
    found = {name: measured[name] for name in wanted if name in measured}
    if not has_images:
        return found
    try:
        return {**found, "pillow": importlib.metadata.version("pillow")}
    except importlib.metadata.PackageNotFoundError:
        return found


def _max_batch_size(engine: EngineReport, record: Record) -> int:
    """GPU engines are built for batches up to a size; CPU engines take any."""
    if ENGINES[engine.backend].device == "cpu":
        return 0
    return int(record.setting("build.max_batch_size") or 1)


def _measurements(report: Report, engine: EngineReport) -> Measurements | None:
    if not (engine.is_benchmarked and report.is_current("benchmark")):
        return None
    stage, details = report.stage("benchmark"), report.details(BenchmarkDetails)
    return Measurements(
        accuracy=engine.accuracy,
        baseline_accuracy=report.baseline.accuracy,
        latency=engine.latency,
        baseline_latency=report.baseline.latency,
        machine=stage.environment if stage else report.environment,
        conditions=details.conditions if details else None,
    )


def _first_page(report: Report) -> Iterator[str]:
    yield f"# Report: {markdown.plain(sections.title(report))}"
    yield ""
    yield from (f"**{markdown.plain(line)}**\n" for line in report.verdict)
    for table in sections.tables(report, "terminal"):
        yield from markdown.section(table)


def _deliver(folder: Path, request: Export) -> None:
    """Move the finished bundle to where it was asked for."""
    if request.format != "zip":
        folder.rename(request.to)
        return
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = zipfile.ZipInfo(file.relative_to(folder).as_posix(), EPOCH)
            name.compress_type = zipfile.ZIP_DEFLATED
            name.external_attr = 0o644 << 16
            stream.writestr(name, file.read_bytes())
    archive.rename(request.to)
