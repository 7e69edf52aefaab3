"""Who is inside the driver: callers go in and out, and one is alone with it only when none is inside."""

import threading

import pytest

from perjoule.errors import DeviceLostError
from perjoule_exporter.meters.nvml.gate import Gate


def test_alone_while_nobody_is_inside() -> None:
    """And afterwards callers go in again, however it ended."""
    gate = Gate()
    with gate, gate:
        pass
    with pytest.raises(DeviceLostError), gate.alone():
        raise DeviceLostError("the driver did not begin")
    with gate, gate.alone() as alone:
        assert not alone


def test_who_is_inside_is_never_kept_waiting() -> None:
    """Trying to be alone stops nobody: others go in meanwhile, and it is given up."""
    gate = Gate()
    entered = threading.Event()

    def call() -> None:
        with gate:
            entered.set()

    with gate:
        trying = threading.Thread(target=lambda: gate.alone().__enter__())
        trying.start()
        call()
        assert entered.is_set()
        trying.join()


def test_a_call_waits_only_so_long_outside() -> None:
    """Then its device is lost for now: the watchdog must not take the wait for a hang of the device."""
    gate = Gate()
    with gate.alone(), pytest.raises(DeviceLostError, match="initialised anew"), gate:
        pass


def test_a_call_goes_in_when_the_gate_opens() -> None:
    """A short wait is none that anybody sees."""
    gate = Gate()
    entered = threading.Event()

    def call() -> None:
        with gate:
            entered.set()

    with gate.alone():
        calling = threading.Thread(target=call)
        calling.start()
        assert not entered.is_set()
    calling.join()
    assert entered.is_set()


def test_never_two_kinds_at_once() -> None:
    """Under many callers and many who want to be alone, none is inside while one is alone."""
    gate = Gate()
    inside = 0
    wrong: list[int] = []
    stop = threading.Event()
    lock = threading.Lock()

    def call() -> None:
        nonlocal inside
        while not stop.is_set():
            with gate:
                with lock:
                    inside += 1
                with lock:
                    inside -= 1

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for _ in range(50):
        with gate.alone() as alone:
            if alone:
                wrong.append(inside)
    stop.set()
    for caller in callers:
        caller.join()
    assert not any(wrong)


def test_a_turn_is_a_way_in() -> None:
    """Who holds one is inside; while one is alone it cannot be taken, not even a new one; and then it can again."""
    gate = Gate()
    turn = gate.turn()
    with turn, gate.alone() as alone:
        assert not alone
    with gate.alone() as alone:
        assert alone
        assert not turn.acquire(blocking=False)
        assert not gate.turn().acquire(blocking=False)
    with turn, gate.turn(), gate:
        pass
