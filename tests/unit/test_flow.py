"""Flow control: bytes and moments only, no socket."""

from messaging.flow import PING_BYTES, PING_INTERVAL, PONG_DEADLINE, STALL_DEADLINE, WINDOW, FlowControl


def full() -> tuple[FlowControl, list[str]]:
    """A window that is full, with the pings that went with it."""
    flow, pings = FlowControl(0), []
    while flow.is_open:
        flow.note_sent(64 * 1024)
        if flow.needs_ping:
            pings.append(flow.ping(1))
    return flow, pings


def test_a_ping_is_due_after_so_many_bytes() -> None:
    flow = FlowControl(0)
    flow.note_sent(PING_BYTES - 1)
    assert not flow.needs_ping
    flow.note_sent(1)
    assert flow.needs_ping
    flow.ping(0)
    assert not flow.needs_ping


def test_what_a_client_does_not_read_is_bounded() -> None:
    flow, pings = full()
    assert len(pings) == WINDOW // PING_BYTES
    assert not flow.is_open


def test_a_pong_opens_the_window_by_what_was_sent_before_its_ping() -> None:
    flow, pings = full()
    flow.pong(pings[0], 2)
    assert flow.is_open
    flow.note_sent(PING_BYTES)
    assert not flow.is_open


def test_a_pong_answers_all_pings_before_it() -> None:
    flow, pings = full()
    flow.pong(pings[-1], 2)
    assert flow.seconds_to_ping(2) is not None


def test_a_pong_that_nobody_waits_for_says_nothing() -> None:
    flow, pings = full()
    for id in ("0", "999", None, 1, ["1"]):
        flow.pong(id, 2)
    assert not flow.is_open
    flow.pong(pings[-1], 2)
    flow.note_sent(WINDOW)
    flow.pong(pings[-1], 3)
    assert not flow.is_open


def test_nobody_answers_a_ping_that_they_have_not_read() -> None:
    assert full()[1] != full()[1]


def test_a_quiet_socket_is_pinged_once_in_an_interval() -> None:
    flow = FlowControl(100)
    assert flow.seconds_to_ping(100) == PING_INTERVAL
    flow.pong(flow.ping(120), 121)
    assert flow.seconds_to_ping(121) == PING_INTERVAL - 1


def test_a_silent_client_has_less_time_when_nothing_waits() -> None:
    flow = FlowControl(0)
    flow.ping(10)
    assert flow.seconds_to_deadline(12, data_waits=False) == PONG_DEADLINE - 2
    assert flow.seconds_to_deadline(12, data_waits=True) == STALL_DEADLINE - 2


def test_a_slow_client_that_reads_on_is_not_silent() -> None:
    flow, pings = full()
    flow.pong(pings[0], 20)
    assert flow.seconds_to_deadline(25, data_waits=True) == STALL_DEADLINE - 5
