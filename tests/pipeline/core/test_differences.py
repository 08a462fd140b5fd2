from __future__ import annotations

from pipeline.core.differences import differing, flatten, in_words


def test_an_empty_dictionary_is_a_value():
    assert list(flatten({"prune": {"widths": {}, "ratio": 0.5}})) == [
        ("prune.widths", {}),
        ("prune.ratio", 0.5),
    ]
    assert in_words({"prune": {}}, {"prune": {"widths": {}}}) == ["prune.widths none -> {}"]
    assert differing({"gpus": {}}, {"gpus": None}) == {"gpus": ({}, None)}


def test_what_fills_an_empty_dictionary_says_that_it_was_empty():
    empty, full = {"prune": {"widths": {}}}, {"prune": {"widths": {"a": 0}}}
    assert in_words(empty, full) == ["prune.widths.a none -> 0"]
    assert in_words(full, empty) == ["prune.widths.a 0 -> none"]
