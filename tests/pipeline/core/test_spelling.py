from __future__ import annotations

from pipeline.core.spelling import nearest, suggestion


def test_the_nearest_name_is_found() -> None:
    assert nearest("trian", ["prune", "train"]) == "train"


def test_nothing_is_found_when_nothing_is_near() -> None:
    assert nearest("xyz", ["prune", "train"]) is None


def test_a_suggestion_ends_a_message_and_may_be_empty() -> None:
    assert f"unknown{suggestion('train')}" == "unknown; did you mean 'train'?"
    assert suggestion(None) == ""
