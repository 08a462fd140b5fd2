"""What predict.py says of an output, by what it is asked. It has the rows that it needs."""

from __future__ import annotations

from pipeline.bundle.programs.binary import answer_binary, compare_binary
from pipeline.bundle.programs.classification import answer_classification, compare_classification
from pipeline.bundle.programs.multilabel import answer_multilabel, compare_multilabel
from pipeline.bundle.programs.raw import answer_raw, compare_raw
from pipeline.bundle.programs.regression import answer_regression, compare_regression
from pipeline.bundle.programs.segmentation import answer_segmentation, compare_segmentation

TASKS = {
    "binary": (answer_binary, compare_binary),
    "classification": (answer_classification, compare_classification),
    "multilabel": (answer_multilabel, compare_multilabel),
    "raw": (answer_raw, compare_raw),
    "regression": (answer_regression, compare_regression),
    "segmentation": (answer_segmentation, compare_segmentation),
}
