"""The types of every record and of report.json: what a stage measured.

    train      TrainResult      details: learning curves, classes
    prune      PruneResult      details: widths, sensitivity, rounds
    quantize   QuantizeResult   details: calibration, ranges, layers left in float
    convert    ConvertResult    details: parity of every graph with Keras
    build      BuildResult      details: parity, layers, choice of the engine; and the engines
    benchmark  BenchmarkResult  details: baseline, classes, machine state; and the engines

No module with such types has `from __future__ import annotations`: pydantic would evaluate the text
of every field whenever a command starts (decision 20).

A stage's `run` returns one of them. They travel as JSON, where a value that is not finite becomes
null. Fields that were once called otherwise are read by both names.
"""
