from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from stages.measurement import clock as timing


def test_a_call_that_sleeps_is_never_measured_as_shorter() -> None:
    begin = time.perf_counter()
    samples = timing.measure({"sleep": lambda: time.sleep(0.002)}, 0.001, 0.02)["sleep"]
    assert samples.dtype == np.float64
    assert samples.min() >= 2.0
    assert samples.sum() < 1000 * (time.perf_counter() - begin)


def test_a_round_lasts_until_the_last_of_all_threads_has_ended() -> None:
    """Two calls that cannot run at the same time take as long as both of them."""
    alone = threading.Lock()

    def sleep() -> None:
        with alone:
            time.sleep(0.004)

    taken = timing.rounds([sleep, sleep], 0.02)
    assert taken.dtype == np.float64
    assert taken.min() >= 8.0
    assert len(timing.rounds([sleep, sleep], 0.0)) == 1


def test_a_call_that_fails_ends_the_rounds_of_all_threads() -> None:
    def fail() -> None:
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        timing.rounds([lambda: None, fail, lambda: None], 60.0)


class Clock:
    """A clock that stands still but for what the calls say they take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.order: list[str] = []
        monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: self.now)

    def call(self, name: str, nanoseconds: int) -> timing.Call:
        """A candidate of that name and duration."""

        def run() -> None:
            self.order.append(name)
            self.now += nanoseconds

        return run


def test_candidates_take_turns_and_the_order_turns_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    calls = {name: clock.call(name, 100) for name in "abc"}
    samples = timing.measure(calls, 1e-7, 2e-6)
    warmup, rest = "abc", ["aabbcc", "ccbbaa"] * 5
    assert "".join(clock.order) == warmup + "".join(rest)
    assert [len(each) for each in samples.values()] == [20, 20, 20]
    assert set(samples["a"]) == {1e-4}


def test_a_candidate_that_used_its_time_up_skips_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    calls = {"slow": clock.call("slow", 450), "quick": clock.call("quick", 100)}
    samples = timing.measure(calls, 1e-9, 1e-6)
    assert [len(each) for each in samples.values()] == [3, 10]
    warmup = ["slow", "quick"]
    assert clock.order[:9] == [*warmup, "slow", *["quick"] * 4, "slow", "quick"]


def test_the_samples_are_exactly_the_calls_after_the_warm_up() -> None:
    count = {"slow": 0, "quick": 0}

    def slow() -> None:
        count["slow"] += 1
        time.sleep(0.003)

    def quick() -> None:
        count["quick"] += 1

    samples = timing.measure({"slow": slow, "quick": quick}, 1e-9, 0.005)
    assert len(samples["slow"]) == count["slow"] - 1
    assert len(samples["quick"]) == count["quick"] - 1


def test_every_candidate_is_called_even_if_one_call_takes_all_the_time() -> None:
    samples = timing.measure({"slow": lambda: time.sleep(0.01)}, 1e-9, 1e-6)
    assert len(samples["slow"]) == 1


def test_an_error_of_a_candidate_is_not_swallowed() -> None:
    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        timing.measure({"broken": broken}, 1e-9, 1e-9)


def test_nothing_to_measure_gives_nothing() -> None:
    assert timing.measure({}, 1.0, 1.0) == {}


def test_one_call_gives_its_result_and_its_time() -> None:
    result, taken_ms = timing.once(lambda: time.sleep(0.002) or "result")
    assert result == "result"
    assert taken_ms >= 2.0


def test_the_overhead_of_the_clock_is_what_its_readings_take_and_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings = itertools.count(step=50)
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: next(readings))
    assert timing.overhead_ms(0.001) == 50e-6


def until_stable(
    calls: dict[str, timing.Call], seconds: float = 2e-5
) -> dict[str, list[timing.Samples]]:
    return timing.until_stable(calls, 1e-9, seconds)


def test_a_steady_candidate_is_certain_after_five_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    windows = until_stable({name: clock.call(name, 100) for name in "ab"})["a"]
    assert [len(each) for each in windows] == [10] * 5
    assert set(np.concatenate(windows)) == {1e-4}
    assert "".join(clock.order) == "ab" + ("a" * 10 + "b" * 20 + "a" * 10) * 2 + "a" * 10 + "b" * 10


def test_a_runtime_of_known_time_is_measured_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arithmetic; benchmarks/clock.py does it with a real clock and a real sleep."""
    clock = Clock(monkeypatch)
    windows = until_stable({"sleeps": clock.call("sleeps", 5_000_000)}, 2.0)["sleeps"]
    assert np.median(np.concatenate(windows)) == pytest.approx(5.0, rel=0.02)


def test_one_unsteady_candidate_keeps_all_going_until_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    jumps = iter(range(100, 100_000, 3))

    def drifts() -> None:
        clock.now += next(jumps)

    windows = until_stable({"steady": clock.call("steady", 100), "drifts": drifts})
    assert len(windows["steady"]) == timing.MAX_WINDOWS
    spent = {name: sum(map(np.sum, found)) for name, found in windows.items()}
    assert 0.02 <= spent["steady"] < 0.021
    assert 0.02 <= spent["drifts"] < 0.021


def test_a_call_longer_than_a_window_skips_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    windows = until_stable({"long": clock.call("long", 3500)})["long"]
    assert [len(each) for each in windows] == [1] * 3  # and three that agree are enough


def test_one_call_that_stalls_is_not_all_that_is_known_of_a_candidate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    taken = itertools.chain([100, 30_000], itertools.repeat(100))  # the warm-up, the stall

    def stalls() -> None:
        clock.now += next(taken)

    windows = until_stable({"stalls": stalls, "steady": clock.call("steady", 100)})
    assert [len(each) for each in windows["stalls"]] == [1, 10, 10]
    assert np.median([np.median(each) for each in windows["stalls"]]) == 1e-4


def test_a_call_that_takes_many_times_as_long_as_there_is_is_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    windows = until_stable({"long": clock.call("long", 100_000)})["long"]
    assert [len(each) for each in windows] == [1]


def test_every_thread_of_a_saturating_run_counts_its_own_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three threads, each with a clock of its own, which stands still but for its calls."""
    clock, limits = threading.local(), (2, 20, 40)
    monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: getattr(clock, "now", 0))

    def call(milliseconds: int) -> timing.Call:
        def run() -> None:
            clock.now = getattr(clock, "now", 0) + milliseconds * timing.NS_PER_MS

        return run

    # 25, 3 and 2 calls, of which the last ends when 50 ms are over.
    assert timing.saturated([call(each) for each in limits], 0.05) == 500 + 50 + 25


@pytest.mark.parametrize(("often_ms", "seldom_ms", "every"), [(80, 200, 2), (10, 60, 20)])
def test_calls_that_take_longer_now_and_then_do_not_seem_shorter(
    monkeypatch: pytest.MonkeyPatch, often_ms: int, seldom_ms: int, every: int
) -> None:
    """A rate up to the last call that ends in time was up to a tenth too high."""
    clock, random = Clock(monkeypatch), np.random.default_rng(0)

    def run() -> None:
        milliseconds = seldom_ms if random.integers(every) == 0 else often_ms
        clock.now += milliseconds * timing.NS_PER_MS

    rates = [timing.saturated([run], 0.3) for _ in range(2000)]
    mean_ms = (seldom_ms + (every - 1) * often_ms) / every
    calls_of_each = 300 / mean_ms
    # What is left is that of a mean of ratios, which falls with the number of calls.
    assert np.mean(rates) == pytest.approx(1000 / mean_ms, rel=0.3 / calls_of_each)


def test_a_call_that_takes_longer_than_a_saturating_run_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    assert timing.saturated([clock.call("long", 200 * timing.NS_PER_MS)], 0.05) == 5.0
    assert clock.order == ["long"]


def test_an_error_in_a_saturating_run_is_not_swallowed() -> None:
    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        timing.saturated([broken, lambda: None], 0.01)
