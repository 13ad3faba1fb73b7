"""One rendering for all who stand at the same place, and another for who blocks somebody in it."""

import tracemalloc
from typing import Any

import orjson

from kafka_layer import Batch, Position
from messaging.render import Renderer


class Ephemeral:
    """A record as far as an ephemeral one is looked at."""

    position = Position("live", 0, 1)

    def __init__(self, **message: Any) -> None:
        self.message = message


RENDERER = Renderer(log=None)  # type: ignore[arg-type]  # ephemeral events have no place in it


def batch(*records: Any) -> Batch:
    return Batch("live.12", tuple(records), 7)


def types(text: Any) -> list[str]:
    frames = orjson.loads(text.text)
    return [frame["type"] for frame in (frames if isinstance(frames, list) else [frames])]


def test_who_blocks_nobody_in_a_batch_shares_its_rendering() -> None:
    """The text is the same object."""
    both = batch(Ephemeral(type="typing", user="bob"), Ephemeral(type="joined", user="carol"))
    assert RENDERER.ephemeral_without(frozenset({"carol", "dave"}), both) is both.render(RENDERER.ephemeral)


def test_who_blocks_somebody_in_a_batch_gets_the_rest() -> None:
    """What a block does not hide, such as coming and going, is shown."""
    both = batch(Ephemeral(type="typing", user="bob"), Ephemeral(type="joined", user="bob"))
    assert types(RENDERER.ephemeral_without(frozenset({"bob"}), both)) == ["joined"]
    assert types(both.render(RENDERER.ephemeral)) == ["typing", "joined"]
    assert RENDERER.ephemeral_without(frozenset({"bob"}), batch(Ephemeral(type="typing", user="bob"))) is None


def test_what_is_kept_of_a_rendering_is_hardly_more_than_its_text() -> None:
    """A web process holds a minute of the log, rendered."""
    events = [Ephemeral(type="typing", room=12, user=f"user{number}") for number in range(200)]
    RENDERER.ephemeral_lines(batch(*events))
    tracemalloc.start()
    lines = RENDERER.ephemeral_lines(batch(*events))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < len(lines) * 512
