"""What waits for the plain `receive(channel)`: references to undecoded records, bounded by each channel's capacity."""

import time
from asyncio import Future
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple

from kafka_layer.counters import Counters
from kafka_layer.errors import LayerClosed
from kafka_layer.wakeups import Wakeups


class Entry(NamedTuple):
    """`decode` makes a dict for one reader alone; `expires_at` is monotonic seconds, None for never."""

    decode: Callable[[], dict[str, Any]]
    expires_at: float | None


class Mailbox:
    """The unread messages of one channel. Bound to no event loop: each waiter brings its own."""

    def __init__(self, capacity: int, now: float) -> None:
        self.waiters: set[Future[None]] = set()  # those that have not been woken yet
        self.groups: dict[str, float] = {}  # group name -> monotonic seconds of the last group_add
        self.touched_at = now  # monotonic seconds; somebody read it or asked for it
        self._capacity = capacity
        self._entries: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry, now: float) -> bool:
        """False when it is full of messages that have not expired."""
        if len(self._entries) >= self._capacity:
            self.drop_expired(now)
            if len(self._entries) >= self._capacity:
                return False
        self._entries.append(entry)
        return True

    def take(self, now: float) -> Entry | None:
        self.touched_at = now
        while self._entries:
            entry = self._entries.popleft()
            if entry.expires_at is None or entry.expires_at > now:
                return entry
        return None

    def clear(self) -> None:
        self._entries.clear()

    def drop_expired(self, now: float) -> int:
        """How many nobody read in time."""
        unexpired = [entry for entry in self._entries if entry.expires_at is None or entry.expires_at > now]
        expired = len(self._entries) - len(unexpired)
        if expired:
            self._entries = deque(unexpired)
        return expired


class Mailboxes:
    """The channels of this process and their memberships. Safe for threads; the lock is held for moments."""

    def __init__(
        self, capacity_of: Callable[[str], int], counters: Counters, *, expiry: float, group_expiry: float
    ) -> None:
        self._capacity_of = capacity_of
        self._counters = counters
        self._expiry = expiry
        self._group_expiry = group_expiry
        self._lock = Lock()
        self._mailboxes: dict[str, Mailbox] = {}  # channel -> its mailbox
        self._groups: dict[str, dict[str, Mailbox]] = {}  # group -> channel -> the channel's mailbox
        self._closed: LayerClosed | None = None
        self.delivered = 0  # messages that readers took

    def add_to_group(self, group: str, channel: str) -> None:
        now = time.monotonic()
        with self._lock:
            mailbox = self._mailbox(channel, now)
            mailbox.groups[group] = now
            self._groups.setdefault(group, {})[channel] = mailbox

    def discard_from_group(self, group: str, channel: str) -> None:
        with self._lock:
            self._discard(group, channel)
            self._forget_idle(channel)

    def has(self, channel: str) -> bool:
        return channel in self._mailboxes

    def has_group(self, group: str) -> bool:
        return group in self._groups

    def put(self, channel: str, decode: Callable[[], dict[str, Any]]) -> bool:
        """A message from this process. False when the channel is full. Raises LayerClosed."""
        now = time.monotonic()
        wakeups = Wakeups()
        with self._lock:
            if self._closed is not None:
                raise self._closed.again()
            mailbox = self._mailbox(channel, now)
            taken = mailbox.put(Entry(decode, now + self._expiry), now)
            self._wake(mailbox, wakeups)
        wakeups.flush()
        return taken

    def deliver(self, channel: str, entry: Entry, wakeups: Wakeups) -> None:
        """A direct message that came through the log: nobody can be told that the channel is full, so it is counted."""
        now = time.monotonic()
        with self._lock:
            self._deliver(channel, self._mailbox(channel, now), entry, now, wakeups)

    def deliver_to_group(self, group: str, entry: Entry, wakeups: Wakeups) -> None:
        now = time.monotonic()
        with self._lock:
            for channel, mailbox in self._groups.get(group, {}).items():
                self._deliver(channel, mailbox, entry, now, wakeups)

    def take(self, channel: str, waiter: "Future[None] | None" = None) -> Entry | None:
        """The channel's next message. None when there is none, and then `waiter` is finished when one comes; it must
        then ask again, since another may have been faster.
        """
        now = time.monotonic()
        with self._lock:
            if self._closed is not None:
                raise self._closed.again()
            mailbox = self._mailboxes.get(channel) if waiter is None else self._mailbox(channel, now)
            entry = mailbox.take(now) if mailbox is not None else None
            if entry is not None:
                self.delivered += 1
            elif mailbox is not None and waiter is not None:
                mailbox.waiters.add(waiter)
            return entry

    def stop_waiting(self, channel: str, waiter: "Future[None]") -> None:
        with self._lock:
            if channel in self._mailboxes:
                self._mailboxes[channel].waiters.discard(waiter)
                self._forget_idle(channel)

    def withdraw(self, channel: str) -> bool:
        """Take away what nobody has read; whether there was anything. Nobody can read it behind this."""
        with self._lock:
            mailbox = self._mailboxes.get(channel)
            had_some = mailbox is not None and len(mailbox) > 0
            if mailbox is not None:
                mailbox.clear()
            return had_some

    def is_empty_and_awaited(self, channel: str) -> bool:
        """Whether somebody waits for a message that is not there yet."""
        with self._lock:
            mailbox = self._mailboxes.get(channel)
            return mailbox is not None and bool(mailbox.waiters) and not len(mailbox)

    def sweep(self) -> None:
        """Forget channels that nobody reads, and memberships that were not renewed."""
        now = time.monotonic()
        with self._lock:
            for channel, mailbox in list(self._mailboxes.items()):
                self._sweep(channel, mailbox, now)

    def clear(self) -> None:
        with self._lock:
            for channel in list(self._mailboxes):
                self._forget(channel)

    def close(self, error: LayerClosed) -> None:
        """Whoever waits, or comes later, gets `error`."""
        wakeups = Wakeups()
        with self._lock:
            self._closed = error
            for mailbox in self._mailboxes.values():
                for waiter in mailbox.waiters:
                    wakeups.add(waiter, error=error)
        wakeups.flush()

    def _mailbox(self, channel: str, now: float) -> Mailbox:
        mailbox = self._mailboxes.get(channel)
        if mailbox is None:
            mailbox = self._mailboxes[channel] = Mailbox(self._capacity_of(channel), now)
        return mailbox

    def _deliver(self, channel: str, mailbox: Mailbox, entry: Entry, now: float, wakeups: Wakeups) -> None:
        if not mailbox.put(entry, now):
            self._counters.add_loss("messages_over_capacity", f"channel {channel} is full")
        elif mailbox.waiters:
            self._wake(mailbox, wakeups)

    def _wake(self, mailbox: Mailbox, wakeups: Wakeups) -> None:
        """All of them: whoever does not get the message waits again."""
        for waiter in mailbox.waiters:
            wakeups.add(waiter)
        mailbox.waiters.clear()

    def _sweep(self, channel: str, mailbox: Mailbox, now: float) -> None:
        expired = mailbox.drop_expired(now)
        if expired:
            self._counters.add_loss("messages_expired", f"nobody read channel {channel}", expired)
        abandoned = not mailbox.waiters and (expired > 0 or now - mailbox.touched_at > self._group_expiry)
        for group, added_at in list(mailbox.groups.items()):
            if abandoned or now - added_at > self._group_expiry:
                self._discard(group, channel)
        if now - mailbox.touched_at > self._expiry:
            self._forget_idle(channel)

    def _discard(self, group: str, channel: str) -> None:
        channels = self._groups.get(group, {})
        mailbox = channels.pop(channel, None)
        if mailbox is not None:
            mailbox.groups.pop(group, None)
        if not channels:
            self._groups.pop(group, None)

    def _forget_idle(self, channel: str) -> None:
        """A channel that nobody reads, without messages and memberships, leaves nothing behind."""
        mailbox = self._mailboxes.get(channel)
        if mailbox is not None and not mailbox.waiters and not mailbox.groups and not len(mailbox):
            del self._mailboxes[channel]

    def _forget(self, channel: str) -> None:
        mailbox = self._mailboxes[channel]
        for group in list(mailbox.groups):
            self._discard(group, channel)
        mailbox.clear()
        if not mailbox.waiters:  # a reader that waits keeps its mailbox, or nobody would ever wake it
            del self._mailboxes[channel]
