"""Random records in; every sentence of the verdict is read back and follows from them.

A sentence that no pattern here knows is a failure as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.report.sections import stages
from pipeline.report.sections.engines import engine_table
from pipeline.results.gate import judge
from stages.measurement.choice import Budget, pick
from stages.numerics import proportions
from stages.results.engines import Candidate, EngineChoice
from tests.pipeline.records import accuracy, records, report_of, row, sha256
from tests.pipeline.report.drawn import cells
from tests.pipeline.shown import Shown, shown

Found = dict[str, Any]
SAMPLES = 360
NUMBER = r"\d[\d,.]*(?:e-\d+)?"
POINTS = r"[-+]?\d+\.\d\d"
LABELS = {"litert": "LiteRT", "onnxruntime": "ONNX Runtime", "int8": "INT8"}

p50s = st.floats(1e-3, 50)
rights = st.integers(200, SAMPLES)


@st.composite
def timed(draw: st.DrawFn, runtime: str, precision: str, is_busy: bool) -> list[Found]:
    """Rows at batch 1 and 32, with one thread and sometimes with two."""
    rows = []
    for threads in (1, 2) if draw(st.booleans()) else (1,):
        for size in (1, 32):
            known = row(runtime, precision, size, draw(p50s))
            known |= {"threads": threads, "stable": draw(st.sampled_from([True, True, False]))}
            rate = draw(st.floats(10, 1e6))
            rows.append({**known, "saturated_images_per_second": rate if is_busy else None})
    return rows


@st.composite
def runs(draw: st.DrawFn) -> Found:
    """Records of a run, or of `build` and `benchmark` on a machine that has only the graphs."""
    found = records()
    measured = {name: record["measurements"] for name, record in found.items()}
    is_busy, benchmark = draw(st.booleans()), measured["benchmark"]
    benchmark["details"]["baseline"]["latency"] = draw(timed("onnxruntime", "fp32", is_busy))
    for engine in benchmark["engines"][:3]:
        engine["latency"] = draw(timed(engine["backend"], engine["precision"], is_busy))
        engine["accuracy"] = accuracy(draw(rights))
    if draw(st.booleans()):
        del benchmark["engines"][0]
    right = draw(rights)
    for each in (measured["train"], benchmark["details"]["baseline"]):
        each["accuracy"] = accuracy(right)
    for stage in ("train", "prune", "quantize"):
        history = [{"epoch": number} for number in range(draw(st.integers(0, 3)))]
        measured[stage]["details"]["history"] = history
    benchmark["details"]["differences"] = [
        draw(differences(f"{each['backend']}.{each['precision']}", right, each["accuracy"]))
        for each in benchmark["engines"]
        if each["accuracy"]
    ]
    for facts in found["build"]["files"].values():
        facts["size_bytes"] = draw(st.integers(900, 10**9))
    if draw(st.booleans()):
        unpruned(found)
    if draw(st.booleans()):
        for stage in ("train", "prune", "quantize"):
            del found[stage]
        whole = draw(st.sampled_from([SAMPLES, 10_000]))
        benchmark["details"]["images"] = "carried"
        measured["convert"]["details"]["carried"] = {
            "images": SAMPLES, "test_samples": whole, "size_bytes": 9000,
        }  # fmt: skip
    return found


@st.composite
def differences(draw: st.DrawFn, engine: str, before: int, after: Found) -> Found:
    """Lost and won images; mostly as many as explain the two accuracies."""
    change = round(after["top1"] * SAMPLES) - before
    more = draw(st.integers(0, min(before, SAMPLES - before - max(change, 0))))
    lost, won = max(-change, 0) + more, max(change, 0) + more
    return {"engine": engine, "lost": min(lost, before), "won": won, "other": 0}


def unpruned(found: Found) -> None:
    """As if prune had copied the model, and build built the same graph twice."""
    for stage, file, other in (
        ("prune", "model.keras", ("train", "model.keras")),
        ("build", "onnxruntime.fp32.onnx", ("build", "baseline.onnxruntime.fp32.onnx")),
    ):
        digest = sha256(*other)
        found[stage]["files"][file]["sha256"] = digest
        for record in found.values():
            if stage in record["inputs"]:
                record["inputs"][stage][file] = digest


def baseline(found: Found) -> Found:
    known: Found = found["benchmark"]["measurements"]["details"]["baseline"]
    return known


def engine_of(found: Found, words: str) -> Found:
    """The engine called "litert int8"."""
    engines = found["benchmark"]["measurements"]["engines"]
    return next(each for each in engines if f"{each['backend']} {each['precision']}" == words)


def best_ms(model: Found, batch_size: int = 1) -> float:
    """The lowest p50 over the thread counts."""
    return min(each["p50_ms"] for each in model["latency"] if each["batch_size"] == batch_size)


def right_of(model: Found) -> int:
    return round(model["accuracy"]["top1"] * SAMPLES)


def compares(match: re.Match[str], factor: float, more: str, same: str) -> bool:
    """Whether "7.0x faster" or "about as fast" is what `factor` says."""
    if match["word"] == same:
        return 1 / 1.0501 < factor < 1.0501
    return (match["word"] == more) == (factor > 1) and max(factor, 1 / factor) in shown(match["by"])


def speed(found: Found, text: str, engine: Found) -> str:
    match = re.match(
        rf"(?:(?P<by>{NUMBER})x )?(?P<word>faster than|slower than|about as fast as) the trained "
        rf"model in ONNX Runtime float32 \((?P<before>{NUMBER})(?: ms on \d+)? -> "
        rf"(?P<after>{NUMBER}) ms(?: on \d+ threads)? at batch 1(?:, \d+ threads)?\)",
        text,
    )
    assert match, text
    before, after = best_ms(baseline(found)), best_ms(engine)
    assert before in shown(match["before"])
    assert after in shown(match["after"])
    assert compares(match, before / after, "faster than", "about as fast as")
    if match["by"]:
        times = shown(match["before"]) / shown(match["after"])
        assert (times if before > after else shown("1.0000000") / times).meets(shown(match["by"]))
    return text[match.end() :]


def size(found: Found, text: str, engine: Found) -> str:
    match = re.match(rf", (?:(?P<by>{NUMBER})x )?(?P<word>smaller|larger|about as large)", text)
    assert match, text
    files = found["build"]["files"]
    before, after = files["baseline.onnxruntime.fp32.onnx"], files[engine["file"]]
    assert compares(match, before["size_bytes"] / after["size_bytes"], "smaller", "about as large")
    return text[match.end() :]


def is_controlled(found: Found, engine: Found) -> bool:
    """Whether no epochs came after the training of the trained model."""
    stages = ["prune", "quantize"] if engine["precision"] == "int8" else ["prune"]
    return all(
        stage in found and not found[stage]["measurements"]["details"]["history"]
        for stage in stages
    )


def accurate(found: Found, text: str, engine: Found) -> None:
    match = re.fullmatch(
        rf", (?:(?P<by>{POINTS}) points )?(?P<word>more accurate|less accurate|as accurate|"
        rf"no accuracy lost)(?: \((?P<notes>.*)\))?\.",
        text,
    )
    assert match, text
    change = right_of(engine) - right_of(baseline(found))
    is_gain = change > 0 and is_controlled(found, engine)
    words = {-1: "less accurate", 0: "as accurate", 1: "no accuracy lost"}
    assert match["word"] == ("more accurate" if is_gain else words[(change > 0) - (change < 0)])
    notes = match["notes"] or ""
    if match["by"]:
        assert abs(100 * change / SAMPLES) in shown(match["by"])
        assert notes.startswith(f"{abs(change)} of {SAMPLES} images")
    if bounds := re.search(rf"95 % interval ({POINTS}) to ({POINTS})$", notes):
        low, high = interval(found, engine)
        assert (low in shown(bounds[1]), high in shown(bounds[2])) == (True, True)


def interval(found: Found, engine: Found) -> tuple[float, float]:
    """In points, from the four counts of the images."""
    counted = found["benchmark"]["measurements"]["details"]["differences"]
    name = f"{engine['backend']}.{engine['precision']}"
    diff = next(each for each in counted if each["engine"] == name)
    both = right_of(baseline(found)) - diff["lost"]
    neither = SAMPLES - both - diff["lost"] - diff["won"]
    expected = proportions.paired_change(both, diff["lost"], diff["won"], neither)
    return 100 * expected.low, 100 * expected.high


def first(found: Found, match: re.Match[str]) -> None:
    """The sentence on the engine of the run."""
    engine = engine_of(found, match["engine"])
    accurate(found, size(found, speed(found, match["rest"], engine), engine), engine)


def epochs(found: Found, match: re.Match[str]) -> None:
    counts = [
        len(found[stage]["measurements"]["details"]["history"])
        for stage in ("train", "prune", "quantize")
    ]
    sums = [" + ".join(map(str, counts[: place + 1])) for place in range(3)]
    assert match[0] == f"Epochs: trained {sums[0]}, pruned {sums[1]}, quantized {sums[2]}."


def pruning(found: Found) -> str:
    """What the sentences must call it: where no file tells, nothing rules it out."""
    files = found["build"]["files"]
    names = "baseline.onnxruntime.fp32.onnx", "onnxruntime.fp32.onnx"
    engines = found["benchmark"]["measurements"]["engines"]
    is_told = "train" in found or engines[0]["file"] == names[1]
    if not is_told:
        return "pruning (if any)"
    return "pruning" if len({files[name]["sha256"] for name in names}) == 2 else ""


def named(text: str) -> str:
    """What a sentence calls it."""
    match = re.search(r"pruning( \(if any\))?", text)
    return match[0] if match else ""


def steps(found: Found, match: re.Match[str]) -> None:
    """Together the steps made it as many times as fast as it is."""
    assert named(match["steps"]) == pruning(found)
    product = math.prod(
        map(shown, re.findall(rf"({NUMBER})x", match["steps"])), start=shown("1.000000000")
    )
    timed_engines = [
        each for each in found["benchmark"]["measurements"]["engines"] if each["latency"]
    ]
    assert best_ms(baseline(found)) / min(map(best_ms, timed_engines)) in product


def not_timed(found: Found, match: re.Match[str]) -> None:
    assert named(match["causes"]) == pruning(found)


def throughput(found: Found, match: re.Match[str]) -> None:
    """The engine has more than any other in any way; the trained model is taken the same way."""
    keys = {
        "one call after the other": "images_per_second",
        "kept busy": "saturated_images_per_second",
    }

    def rate(model: Found, *kinds: str) -> float:
        rows = [each for each in model["latency"] if each["batch_size"] == 32]
        return max(each[kind] or 0.0 for each in rows for kind in kinds)

    timed_engines = [
        each for each in found["benchmark"]["measurements"]["engines"] if each["latency"]
    ]
    most = rate(engine_of(found, match["engine"]), keys[match["how"]])
    assert most == max(rate(each, *keys.values()) for each in timed_engines)
    assert most in shown(match["rate"])
    assert most / rate(baseline(found), keys[match["how"]]) in shown(match["by"])


def unstable(found: Found, match: re.Match[str]) -> None:
    rows = [*baseline(found)["latency"]]
    rows += [
        each for model in found["benchmark"]["measurements"]["engines"] for each in model["latency"]
    ]
    assert any(each["stable"] is False and each["batch_size"] == 1 for each in rows)


def starts_late(found: Found, match: re.Match[str]) -> None:
    assert next(iter(found)) == match["start"] == "convert"
    assert re.split(", | and ", match["absent"]) == ["train", "prune", "quantize"]


def on_a_part(found: Found, match: re.Match[str]) -> None:
    assert found["benchmark"]["measurements"]["details"]["images"] == "carried"
    assert baseline(found)["accuracy"]["samples"] in shown(match["taken"])
    carried = found["convert"]["measurements"]["details"]["carried"]
    assert carried["test_samples"] in shown(match["whole"])
    assert carried["test_samples"] > SAMPLES


SENTENCES: dict[str, Callable[[Found, re.Match[str]], None]] = {
    r"(?P<engine>\w+ \w+): (?P<rest>.*)": first,
    r"Epochs: .*": epochs,
    r"Step by step: (?P<steps>.*)\.": steps,
    r"How much (?P<causes>.*) brought each was not timed\.": not_timed,
    rf"Most images per second at batch 32: (?P<engine>\w+ \w+) (?P<how>kept busy|one call after "
    rf"the other), (?P<rate>{NUMBER})(?: \(UNSTABLE\))?, (?P<by>{NUMBER})x the trained "
    rf"model's\.": throughput,
    r"The line starts at (?P<start>\w+) here: what (?P<absent>.*) measured is not "
    r"known\.": starts_late,
    rf"Accuracy is that on (?P<taken>{NUMBER}) of the (?P<whole>{NUMBER}) test images, which "
    rf"convert carried\.": on_a_part,
    r"UNSTABLE, the median is not certain: (?P<names>.*)\.": unstable,
}


@settings(deadline=None, derandomize=True, max_examples=50)
@given(runs())
def test_every_sentence_of_the_verdict_follows_from_the_records(found: Found) -> None:
    for line in report_of(found).verdict:
        matches = [
            (check, match)
            for pattern, check in SENTENCES.items()
            if (match := re.fullmatch(pattern, line))
        ]
        assert len(matches) == 1, line
        check, match = matches[0]
        check(found, match)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(runs())
def test_every_change_in_the_line_follows_from_the_cells_beside_it(found: Found) -> None:
    table = stages.stage_table(report_of(found))
    lines = cells(table)
    for line in lines.values():
        if "train" in lines and line["change"] != "-":
            difference = shown(line["accuracy"]) - shown(lines["train"]["accuracy"])
            assert difference.meets(shown(line["change"]))
        if "train" in lines and line["speed-up"] != "-":
            times = shown(lines["train"]["p50 ms, batch 1"]) / shown(line["p50 ms, batch 1"])
            assert times.meets(shown(line["speed-up"]))
    for note in table.notes:
        for stage, change, low, high in re.findall(
            rf"(\w+) ({POINTS}) \(({POINTS}) to ({POINTS})", note
        ):
            assert shown(change).meets(shown(lines[stage]["change"]))
            assert Shown(shown(low).low, shown(high).high).meets(shown(change))


@settings(deadline=None, derandomize=True, max_examples=25)
@given(runs(), st.floats(0, 20), st.floats(1e-3, 50))
def test_every_gate_says_what_it_was_judged_by(found: Found, drop: float, p50_ms: float) -> None:
    lost, slow = judge(report_of(found), {"max_accuracy_drop": drop, "max_p50_ms": p50_ms})
    match = re.match(
        rf"(\w+ \w+) has ({NUMBER}) % top-1 accuracy, (?:({POINTS}) points (below|above)|as) the "
        rf"trained model",
        lost.reason,
    )
    assert match, lost.reason
    engine = engine_of(found, match[1])
    points = 100 * (right_of(baseline(found)) - right_of(engine)) / SAMPLES
    assert 100 * engine["accuracy"]["top1"] in shown(match[2])
    assert points == 0 if match[4] is None else (match[4] == "below") == (points > 0)
    assert (lost.state == "passed") == (points <= drop + 1e-9)
    taken = re.match(rf"\w+ \w+ takes ({NUMBER}) ms \(p50\) at batch 1", slow.reason)
    assert taken, slow.reason
    assert best_ms(engine) in shown(taken[1])
    assert (slow.state == "passed") == (best_ms(engine) <= p50_ms)


@st.composite
def choices(draw: st.DrawFn) -> Found:
    """What build would choose from these accuracies on the validation images."""
    samples, points = draw(st.integers(20, 2000)), draw(st.sampled_from([0.0, 0.5, 2.0]))
    trained = draw(st.integers(0, samples))
    budget = Budget(samples, points)
    table = []
    for engine in ("onnxruntime.int8", "litert.int8"):
        top1 = min(samples, max(0, trained - draw(st.integers(-3, 30)))) / samples
        table.append(
            Candidate(
                engine=engine, batch_size=1, threads=1, p50_ms=draw(p50s), top1=top1,
                within_budget=budget.allows(top1, trained / samples),
            )
        )  # fmt: skip
    chosen = pick(table, 1, budget)
    assert chosen
    return EngineChoice(
        max_accuracy_drop=points,
        validation_samples=samples,
        trained_top1=trained / samples,
        table=tuple(table),
        chosen={1: chosen},
    ).model_dump(mode="json")


@settings(deadline=None, derandomize=True, max_examples=40)
@given(choices())
def test_the_choice_of_build_is_told_with_the_loss_that_it_accepted(choice: Found) -> None:
    found = records()
    found["build"]["measurements"]["details"]["choice"] = choice
    report = report_of(found)
    match = re.fullmatch(
        rf"Allowed ({NUMBER}) points(?P<one> \(or one image\))? below the trained model on "
        rf"({NUMBER}) validation images, build chose: (?P<engine>\w+ \w+) \(batch 1, "
        rf"(?P<change>{POINTS}) points(?P<over>, over the budget)?\)\.",
        engine_table(report).notes[0],
    )
    assert match
    samples = choice["validation_samples"]
    row = next(each for each in choice["table"] if each["engine"].replace(".", " ") == match[4])
    images = round((row["top1"] - choice["trained_top1"]) * samples)
    assert 100 * images / samples in shown(match["change"])
    allowed = choice["max_accuracy_drop"] / 100 * samples
    assert bool(match["one"]) == (allowed < 1)
    assert bool(match["over"]) == (-images > max(1, allowed + 1e-6))
    warned = [line for line in report.verdict if line.startswith("No engine is within the budget")]
    assert bool(warned) == bool(match["over"])
    for line in warned:
        below = re.search(rf"images {match['engine']} is ({NUMBER}) points below\.$", line)
        assert below
        assert -100 * images / samples in shown(below[1])
