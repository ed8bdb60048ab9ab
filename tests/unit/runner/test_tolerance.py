from __future__ import annotations

from breakbulk.runner.tolerance import Gauge


def test_a_lane_counts_before_it_can_be_too_much() -> None:
    """Of four lanes, each as bold as it may be, none lets the run go beyond what it tolerates."""
    lanes = [Gauge() for _ in range(4)]
    tolerated, failed, counted = 5_000, 0, 0
    while failed <= tolerated:
        for gauge in lanes:
            failed += 1
            if gauge.counts(1):
                counted += 1
                gauge.found(tolerated - failed, len(lanes))
        if failed < tolerated - len(lanes) * 8 * 4:
            assert sum(gauge.left for gauge in lanes) < tolerated - failed
    assert all(gauge.left <= 0 for gauge in lanes), "at the end each counts each time"
    assert counted < tolerated / 10


def test_what_is_known_of_the_room_is_known_for_whole_chunks_too() -> None:
    gauge = Gauge()
    assert gauge.counts(10)
    gauge.found(room=10_000, lanes=2)
    assert not gauge.counts(500)
    assert gauge.counts(500)
    gauge.found(room=-1, lanes=2)
    assert gauge.counts(1)
