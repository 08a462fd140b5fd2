from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report import html
from pipeline.results import evidence
from pipeline.results.evidence import Evidence
from tests.pipeline.records import report_of
from tests.pipeline.report.full_run import full_report, write_arrays


@pytest.fixture(scope="session")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What the benchmark of the full run left."""
    folder: Path = tmp_path_factory.mktemp("full")
    write_arrays(folder)
    return evidence.read(full_report(), folder)


@pytest.fixture(scope="session")
def full_page(arrays: Evidence) -> str:
    """The page of a run that recorded everything."""
    return html.render(full_report(), arrays)


@pytest.fixture(scope="session")
def sample_page() -> str:
    """The page of the sample run."""
    return html.render(report_of())
