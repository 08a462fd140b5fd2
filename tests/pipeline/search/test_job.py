from __future__ import annotations

from records import parsed, records

from pipeline.core.record import FileEntry
from pipeline.search.job import size_of


def test_the_size_of_an_engine_is_that_of_all_files_that_it_is_exported_with():
    build = parsed(records())["build"]
    engine = next(each for each in build.measurements.engines if each.file)
    alone = build.files[engine.file].size_bytes
    apart = {
        f"{engine.file}.weights.onnx": FileEntry(sha256="0" * 64, size_bytes=1000),
        f"{engine.file}.json": FileEntry(sha256="1" * 64, size_bytes=200),
    }
    whole = build.model_copy(update={"files": {**build.files, **apart}})
    assert size_of(engine, build) == alone
    assert size_of(engine, whole) == alone + 1200
