from __future__ import annotations

import pytest

from pipeline import config
from pipeline.search.measurable import refuse_unmeasurable
from stages.engines.cuda.memory import gpu_blocker
from stages.errors import SettingsError


def refused(*overrides: str, is_here: bool = False) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        refuse_unmeasurable(config.load(None, overrides), is_here)
    return caught.value


@pytest.mark.parametrize(
    ("overrides", "message", "hint"),
    [
        (
            ["search.engine=litert.fp16"],
            "search.engine: litert.fp16 is never timed: LiteRT has no FP16",
            "it has: litert.fp32, litert.int8",
        ),
        (
            ["search.engine=openvino.int8", 'build.backends=["litert"]'],
            "search.engine: openvino.int8 is never timed: build.backends leaves openvino out",
            'add it: --set \'build.backends=["litert", "openvino"]\'',
        ),
        (
            ["search.engine=litert.int8", 'build.precisions=["fp32"]'],
            "search.engine: litert.int8 is never timed: build.precisions leaves int8 out",
            'add it: --set \'build.precisions=["fp32", "int8"]\'',
        ),
        (
            ["search.engine=tensorrt.fp8", 'build.precisions=["fp8"]'],
            "search.engine: tensorrt.fp8 is never timed: convert.extra_precisions leaves fp8 out",
            "add it: --set 'convert.extra_precisions=[\"fp8\"]'",
        ),
        (
            ["search.engine=tensorrt.int8", "search.batch_size=128"],
            "search.engine: tensorrt.int8 is never timed: search.batch_size 128 is above "
            "build.max_batch_size 64",
            "--set build.max_batch_size=128",
        ),
        (
            ["convert.batch_size=8"],
            "search.batch_size: got 1, expected 8, the only one that engines take with "
            "convert.batch_size=8",
            "--set search.batch_size=8, or --set convert.batch_size=0",
        ),
        (
            ['build.precisions=["bf16"]', 'build.backends=["litert", "tensorrt"]'],
            "search.engine: no engine that is built is ever timed: LiteRT has no BF16; "
            "convert.extra_precisions leaves bf16 out",
            "it has: litert.fp32, litert.int8",
        ),
        (
            ["build.backends=[]"],
            "search.engine: no engine that is built is ever timed: build.backends and "
            "build.precisions name none",
            "leave them out for the default ones",
        ),
    ],
)
def test_what_no_trial_can_have_is_said_before_any_begins(overrides, message, hint):
    """Three trials were trained in full before it was said."""
    error = refused(*overrides)
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.parametrize(
    "overrides",
    [
        ["search.engine=litert.int8"],
        ["convert.batch_size=8", "search.batch_size=8"],
        ["convert.batch_size=8", 'search.knobs={"convert.batch_size" = [0, 8]}'],
        ["build.backends=[]", 'search.knobs={"build.backends" = [["litert"], ["openvino"]]}'],
        [
            "search.engine=openvino.int8",
            'build.backends=["litert"]',
            'search.knobs={"build.backends" = [["litert"], ["openvino"]]}',
        ],
        [
            "search.engine=tensorrt.int8",
            "search.batch_size=128",
            'search.knobs={"build.max_batch_size" = [64, 128]}',
        ],
    ],
)
def test_what_a_trial_may_have_is_not_refused(overrides):
    refuse_unmeasurable(config.load(None, overrides), is_here=False)


@pytest.mark.skipif(gpu_blocker() is None, reason="this machine has a GPU")
def test_an_engine_that_cannot_run_on_this_machine_may_run_on_others():
    for wanted, message in {
        "search.engine=tensorrt.int8": "search.engine: tensorrt.int8 is never timed: ",
        'build.backends=["tensorrt"]': "search.engine: no engine that is built is ever timed: ",
    }.items():
        assert refused(wanted, is_here=True).message.startswith(message)
        refuse_unmeasurable(config.load(None, [wanted]), is_here=False)


def test_the_power_of_an_engine_on_the_cpu_is_nowhere_told():
    error = refused('search.objectives=["energy"]', "search.engine=litert.int8")
    assert error.message.endswith("'energy' is never measured here: litert.int8 runs on the CPU")
