from kafka_layer import Position, Record
from kafka_layer.codec import CODECS
from kafka_layer.ring import RECORD_BYTES, Ring
from kafka_layer.window import RepeatWindow


def make_ring(*, lost_through: int = -1, max_records: int = 3, max_bytes: int = 100_000) -> Ring:
    return Ring(lost_through=lost_through, max_records=max_records, max_bytes=max_bytes)


def make_record(offset: int, *, size: int = 10, arrived: float = 0.0, id: str | None = None) -> Record:
    headers = [("id", id.encode())] if id else []
    position = Position("t", 0, offset)
    return Record(position, "g", b"x" * size, codec=CODECS["json"], headers=headers, timestamp_ms=0, arrived=arrived)


def offsets(ring: Ring, after: int, through: int) -> list[int]:
    return [record.position.offset for record in ring.between(after, through)]


def test_a_new_ring_is_complete_behind_the_place_it_started_at() -> None:
    """A ring without records knows from where on it has everything."""
    ring = make_ring(lost_through=41)
    assert (ring.lost_through, ring.last_offset, len(ring)) == (41, 41, 0)


def test_between_finds_records_by_offset_although_offsets_have_holes() -> None:
    """Offsets of other groups lie between those of this one."""
    ring = make_ring(max_records=10)
    for offset in (3, 7, 8, 20):
        ring.append(make_record(offset))
    assert offsets(ring, -1, 100) == [3, 7, 8, 20]
    assert offsets(ring, 3, 8) == [7, 8]
    assert offsets(ring, 5, 19) == [7, 8]
    assert offsets(ring, 20, 100) == []


def test_the_number_of_records_is_bounded_and_the_loss_is_known() -> None:
    """The oldest record goes first, and the ring says up to where it has lost records."""
    ring = make_ring(max_records=3)
    for offset in (2, 4, 6, 8, 10):
        ring.append(make_record(offset))
    assert offsets(ring, -1, 100) == [6, 8, 10]
    assert ring.lost_through == 4


def test_the_bytes_are_bounded() -> None:
    """A few large records push out the older ones."""
    ring = make_ring(max_records=100, max_bytes=2 * RECORD_BYTES + 100)
    for offset in range(5):
        ring.append(make_record(offset, size=40))
    assert offsets(ring, -1, 100) == [3, 4]
    assert ring.lost_through == 2


def test_a_record_larger_than_the_ring_is_lost_and_known_to_be() -> None:
    """Nothing is kept, and a member that has not read it falls into a gap."""
    ring = make_ring(max_bytes=RECORD_BYTES + 100)
    ring.append(make_record(0, size=101))
    assert (len(ring), ring.lost_through) == (0, 0)


def test_old_records_are_evicted_by_the_time_they_arrived() -> None:
    """Age is counted from arrival, so that a process that was paused still delivers what it then reads."""
    ring = make_ring(max_records=10)
    for offset in range(4):
        ring.append(make_record(offset, arrived=float(offset)))
    ring.evict_arrived_before(2.0)
    assert offsets(ring, -1, 100) == [2, 3]
    assert ring.lost_through == 1


def test_reset_forgets_everything_and_outdates_all_cursors() -> None:
    """After a jump of the partition, a cursor from before is worthless even where its offset looks right."""
    ring = make_ring()
    ring.append(make_record(5))
    generation = ring.generation
    ring.reset(99)
    assert (len(ring), ring.lost_through, ring.generation) == (0, 99, generation + 1)


def test_find_looks_an_id_up() -> None:
    """A retried send finds the record of its first attempt."""
    ring = make_ring()
    ring.append(make_record(1, id="a"))
    ring.append(make_record(2, id="b"))
    found = ring.find("b")
    assert found is not None and found.position.offset == 2
    assert ring.find("c") is None


def test_a_repeat_is_known_by_group_and_id() -> None:
    """The same id in another group is another message."""
    window = RepeatWindow(seconds=60)
    assert not window.is_repeat("g", "1", 1000)
    assert window.is_repeat("g", "1", 1001)
    assert not window.is_repeat("h", "1", 1002)


def test_the_repeat_window_is_measured_in_log_time() -> None:
    """Behind the window an id counts as new, whenever the record is read."""
    window = RepeatWindow(seconds=60)
    assert not window.is_repeat("g", "1", 1_000)
    assert window.is_repeat("g", "1", 61_000)
    assert not window.is_repeat("g", "1", 121_001)


def test_a_repeat_is_one_also_for_who_did_not_see_the_first() -> None:
    """A reader that began between the first and its repeat decides about the third as one that saw all."""
    early, late = RepeatWindow(seconds=60), RepeatWindow(seconds=60)
    assert [early.is_repeat("g", "1", time) for time in (0, 50_000, 100_000)] == [False, True, True]
    late.is_repeat("g", "1", 50_000)
    assert late.is_repeat("g", "1", 100_000)


def test_the_repeat_window_is_bounded() -> None:
    """However many ids come, memory does not grow."""
    window = RepeatWindow(seconds=60, max_ids=100)
    for number in range(1000):
        assert not window.is_repeat("g", str(number), 0)
    assert len(window) == 100
    assert window.is_repeat("g", "999", 0)
