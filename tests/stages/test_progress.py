from __future__ import annotations

import logging

from stages import progress


def test_progress_is_told_through_the_standard_logging(caplog):
    with caplog.at_level(logging.INFO, logger="stages"):
        progress.report("loss 0.3", 2, 10)
        progress.report("reading")
    assert [record.message for record in caplog.records] == ["loss 0.3", "reading"]
    assert [vars(record)["step"] for record in caplog.records] == [(2, 10), None]
