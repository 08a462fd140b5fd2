from __future__ import annotations

from typing import Any

from tests.pipeline.records import LINE, accuracy, changed, engine, records, report_of, row


def verdict(found: dict[str, Any]) -> list[str]:
    return list(report_of(found).verdict)


def with_winner(
    p50_ms: float, right: int = 355, threads: int = 1, samples: int = 360
) -> dict[str, Any]:
    """The whole line, in which the LiteRT engine got other results."""
    found = records()
    for each in found["benchmark"]["measurements"]["engines"]:
        if each["backend"] == "litert":
            each["latency"] = [{**row("litert", "int8", 1, p50_ms), "threads": threads}]
            each["accuracy"] = accuracy(right, samples)
        else:
            each["latency"] = []
    return found


def test_the_fastest_engine_is_compared_in_speed_size_and_accuracy() -> None:
    # 0.056 / 0.008 = 7.0, 1_687_000 / 120_500 = 14.0, (355 - 357) / 360 = -0.56 points
    assert verdict(records()) == [
        "litert int8: 7.0x faster than the trained model in ONNX Runtime float32 "
        "(0.0560 -> 0.00800 ms at batch 1), 14x smaller, "
        "0.56 points less accurate (2 of 360 images).",
        # 0.056 / 0.025, 0.025 / 0.008
        "Epochs: trained 2, pruned 2 + 0, quantized 2 + 0 + 0.",
        "Step by step: pruning 2.2x, LiteRT and INT8 together 3.1x (not timed apart).",
        "Most images per second at batch 32: onnxruntime int8 one call after the other, 160,000, "
        "5.0x the trained model's.",
    ]


def test_a_slower_engine_is_called_slower() -> None:
    assert "2.0x slower than" in verdict(with_winner(0.112))[0]


def test_an_engine_of_the_same_speed_is_called_as_fast() -> None:
    assert "about as fast as the trained model" in verdict(with_winner(0.0561))[0]


def test_an_engine_that_gets_as_many_images_right_is_as_accurate() -> None:
    assert verdict(with_winner(0.008, right=357))[0].endswith("as accurate.")


def test_an_engine_that_gets_one_image_more_right_is_more_accurate() -> None:
    text = verdict(with_winner(0.008, right=358))[0]
    assert text.endswith("0.28 points more accurate (1 of 360 images).")


def test_accuracy_on_other_images_is_given_without_a_comparison() -> None:
    text = verdict(with_winner(0.008, right=50, samples=100))[0]
    assert text.endswith("50.00 % accurate.")


def test_thread_counts_are_named_where_they_differ() -> None:
    assert (
        "0.0560 ms on 1 -> 0.00800 ms on 2 threads at batch 1"
        in verdict(with_winner(0.008, threads=2))[0]
    )


def test_no_throughput_is_claimed_when_one_batch_size_was_timed() -> None:
    assert not any("images per second" in line for line in verdict(with_winner(0.008)))


def test_without_a_baseline_no_speedup_is_claimed() -> None:
    found = records()
    found["benchmark"]["measurements"]["details"] = {}
    text = verdict(found)[0]
    assert text.startswith("litert int8: 0.00800 ms at batch 1, ")
    assert "fastest" not in text
    assert "faster" not in text


def test_an_outdated_benchmark_gives_no_verdict() -> None:
    assert verdict(changed(records(), "train")) == [
        "The benchmark is older than the model: no verdict. Run: pipeline run all"
    ]


def test_before_the_benchmark_nothing_is_claimed_about_speed() -> None:
    assert verdict(records(*LINE[:-1])) == [
        "4 of 7 engines built, none benchmarked yet. Run: pipeline run all"
    ]


def test_after_train_alone_the_accuracy_is_all_there_is_to_say() -> None:
    assert verdict(records("train")) == [
        "train: 99.17 % of 360 images right; no engine was built yet. Run: pipeline run all"
    ]


def test_a_record_without_measurements_claims_nothing() -> None:
    found = records("train")
    found["train"]["measurements"] = {}
    assert verdict(found) == ["Nothing was measured yet. Run: pipeline run all"]


def test_what_was_timed_apart_is_told_apart() -> None:
    found = records()
    engines = found["benchmark"]["measurements"]["engines"]
    engines.append(engine("litert", "fp32", ".tflite", 356, (0.016, 0.4)))
    # 0.056 / 0.025, 0.025 / 0.016, 0.016 / 0.008
    assert verdict(found)[2] == "Step by step: pruning 2.2x, LiteRT 1.6x, INT8 2.0x."


def test_without_the_pruned_float_model_no_share_is_claimed() -> None:
    assert verdict(with_winner(0.008))[2] == (
        "How much pruning, LiteRT and INT8 brought each was not timed."
    )


def test_an_unstable_timing_is_a_warning() -> None:
    found = records()
    found["benchmark"]["measurements"]["engines"][2]["latency"][0]["stable"] = False
    assert verdict(found)[-1] == "UNSTABLE, the median is not certain: LiteRT INT8."


def test_an_unstable_step_on_the_way_is_a_warning_too() -> None:
    found = records()
    found["benchmark"]["measurements"]["engines"][0]["latency"][0]["stable"] = False
    assert verdict(found)[-1] == "UNSTABLE, the median is not certain: pruned."


def busy(found: dict[str, Any], **rates: float) -> dict[str, Any]:
    """With these saturated images per second at batch 32, by engine and of the baseline."""
    benchmark = found["benchmark"]["measurements"]
    timed = {f"{each['backend']}_{each['precision']}": each for each in benchmark["engines"]}
    timed["baseline"] = benchmark["details"]["baseline"]
    for name, rate in rates.items():
        timed[name]["latency"][1]["saturated_images_per_second"] = rate
    return found


def test_the_most_images_per_second_are_the_most_that_were_recorded() -> None:
    rates = {"baseline": 50_000.0, "onnxruntime_int8": 170_119.0, "litert_int8": 257_280.0}
    assert verdict(busy(records(), **rates))[3] == (
        "Most images per second at batch 32: litert int8 kept busy, 257,280, "
        "5.1x the trained model's."
    )
    few = {"baseline": 5_000.0, "litert_int8": 25_728.0}
    assert (
        "onnxruntime int8 one call after the other, 160,000," in verdict(busy(records(), **few))[3]
    )


def test_a_throughput_from_an_uncertain_median_is_uncertain() -> None:
    found = records()
    found["benchmark"]["measurements"]["engines"][1]["latency"][1]["stable"] = False
    assert "160,000 (UNSTABLE), 5.0x" in verdict(found)[3]


def trained_for(found: dict[str, Any], **epochs: int) -> dict[str, Any]:
    """With so many epochs in the history of these stages."""
    for stage, count in epochs.items():
        history = [{"epoch": number} for number in range(1, count + 1)]
        found[stage]["measurements"]["details"]["history"] = history
    return found


def test_a_model_whose_fine_tunes_trained_on_is_not_called_more_accurate() -> None:
    found = trained_for(with_winner(0.008, right=358), train=1, prune=2, quantize=0)
    first, epochs, *_ = verdict(found)
    assert first.endswith("smaller, no accuracy lost.")
    assert epochs == "Epochs: trained 1, pruned 1 + 2, quantized 1 + 2 + 0."


def test_an_unknown_fine_tune_is_no_control_either() -> None:
    found = with_winner(0.008, right=358)
    del found["train"], found["prune"], found["quantize"]
    assert verdict(found)[0].endswith("smaller, no accuracy lost.")


def test_a_fine_tune_that_was_undone_counts_no_epochs() -> None:
    found = trained_for(with_winner(0.008, right=358), train=3, quantize=5)
    found["quantize"]["measurements"]["details"]["kept"] = "calibrated"
    first, epochs, *_ = verdict(found)
    assert epochs == "Epochs: trained 3, pruned 3 + 0, quantized 3 + 0 + 0."
    assert first.endswith("0.28 points more accurate (1 of 360 images).")


def with_differences(lost: int, won: int) -> dict[str, Any]:
    """The whole line, with the LiteRT engine compared image by image."""
    found = records()
    counted = {"engine": "litert.int8", "lost": lost, "won": won, "other": 0}
    found["benchmark"]["measurements"]["details"]["differences"] = [counted]
    return found


def test_answers_to_the_same_images_give_the_difference_an_interval() -> None:
    # 354 both, 3 lost, 1 won, 2 neither: by Newcombe's method 10 -2.25 to +0.92 points
    assert verdict(with_differences(3, 1))[0].endswith(
        "0.56 points less accurate (2 of 360 images; 95 % interval -2.25 to +0.92)."
    )


def test_images_that_do_not_explain_the_difference_give_no_interval() -> None:
    assert verdict(with_differences(4, 1))[0].endswith("less accurate (2 of 360 images).")


def with_training(right: int, supports: tuple[int, ...]) -> dict[str, Any]:
    """The whole line after a training that got `right` of 360 test images."""
    found = records()
    scores = [{"precision": 0, "recall": 0, "f1": 0, "support": count} for count in supports]
    classes = [str(number) for number in range(len(supports))]
    measured = found["train"]["measurements"]
    measured["accuracy"] = accuracy(right)
    measured["details"]["classification"] = {"classes": classes, "per_class": scores}
    return found


def test_a_trained_model_at_chance_gets_no_praise() -> None:
    assert verdict(with_training(40, (36,) * 10)) == [
        "The trained model is not shown to be better than chance: 11.11 % of 360 images are right, "
        "and 10.00 % would be by chance. No verdict: check data.scale, train.epochs and the labels."
    ]


def test_a_model_at_chance_gets_no_praise_where_only_its_graphs_are_either() -> None:
    found = with_training(40, (36,) * 10)
    classes = found["train"]["measurements"]["details"]["classification"]
    benchmark = found["benchmark"]["measurements"]["details"]
    benchmark["classification"] = {"baseline": classes}
    benchmark["baseline"]["accuracy"] = accuracy(40)
    for stage in ("train", "prune", "quantize"):
        del found[stage]
    assert "not shown to be better than chance" in verdict(found)[0]


def test_a_model_that_tells_rare_classes_apart_is_above_chance() -> None:
    """85 % right where 90 % are of one class: dealt at random its answers would get 67 %."""
    found = with_training(306, (324, 36))
    classes = found["train"]["measurements"]["details"]["classification"]
    classes["confusion"] = [[275, 49], [5, 31]]
    assert "chance" not in verdict(found)[0]
    classes["confusion"] = [[306, 18], [36, 0]]
    assert "not shown to be better than chance" in verdict(found)[0]


def test_a_benchmark_in_which_nothing_ran_is_said_to_be_one() -> None:
    found = records()
    for stage in ("build", "benchmark"):
        for each in found[stage]["measurements"]["engines"]:
            each |= {"state": "built_not_run", "latency": [], "accuracy": None}
    assert verdict(found)[0].startswith("None of the engines ran in the benchmark.")


def test_naming_the_most_frequent_class_is_chance_too() -> None:
    assert "not shown to be better than chance" in verdict(with_training(275, (270, 90)))[0]


def test_a_trained_model_above_chance_gets_its_verdict() -> None:
    assert verdict(with_training(357, (36,) * 10)) == verdict(records())


def on_another_machine(test_samples: int = 10_000) -> dict[str, Any]:
    """Records where only `convert` was copied to, with 360 of the test images."""
    found = records("convert", "build", "benchmark")
    carried = {"images": 360, "test_samples": test_samples, "size_bytes": 9000}
    found["convert"]["measurements"]["details"] = {"carried": carried}
    found["benchmark"]["measurements"]["details"]["images"] = "carried"
    return found


def test_where_the_line_starts_late_the_verdict_says_what_is_not_known() -> None:
    assert verdict(on_another_machine())[-2:] == [
        "The line starts at convert here: what train, prune and quantize measured is not known.",
        "Accuracy is that on 360 of the 10,000 test images, which convert carried.",
    ]


def test_where_all_test_images_were_carried_there_is_nothing_to_say_of_them() -> None:
    assert not any("carried" in line for line in verdict(on_another_machine(360)))


def test_an_earlier_convert_does_not_say_how_many_test_images_there_are() -> None:
    found = on_another_machine()
    found["convert"]["measurements"]["details"] = {}
    assert verdict(found)[-1] == "Accuracy is that on 360 test images, which convert carried."


def test_on_another_machine_no_command_is_advised_that_would_begin_anew() -> None:
    found = on_another_machine()
    assert verdict({stage: found[stage] for stage in ("convert", "build")}) == [
        "4 of 7 engines built, none benchmarked yet. Run: pipeline run build benchmark"
    ]
    assert verdict(changed(found, "convert")) == [
        "The benchmark is older than the model: no verdict. Run: pipeline run build benchmark"
    ]


def test_the_data_set_keeps_its_name_where_train_has_not_run() -> None:
    found = on_another_machine()
    found["convert"]["settings"]["data"] = {"name": "npz"}
    report = report_of(found)
    assert (report.dataset.name, report.dataset.test_samples) == ("npz", 10_000)
