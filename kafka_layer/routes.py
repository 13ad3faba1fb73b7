"""Which topic a group lives in, and in which format."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from kafka_layer.codec import CODECS, Codec


@dataclass(frozen=True, kw_only=True)
class Route:
    """Groups whose name matches `pattern` (as a file name pattern: `room.*`) live in `topic`."""

    pattern: str
    topic: str
    format: str = "json"

    def __post_init__(self) -> None:
        if self.format not in CODECS:
            raise ValueError(f"Route {self.pattern!r}: format {self.format!r} is none of {', '.join(CODECS)}.")


class Routes:
    """The first route that matches decides; every other group lives in the layer's own topic, in `own_codec`."""

    def __init__(
        self, routes: Iterable[Route | Mapping[str, str]], *, own_topic: str, own_codec: Codec = CODECS["msgpack"]
    ) -> None:
        given = [route if isinstance(route, Route) else Route(**route) for route in routes]
        self.own_topic = own_topic
        self.own_codec = own_codec
        self._own = Route(pattern="*", topic=own_topic, format="msgpack")
        self._compiled = [(re.compile(translate(route.pattern)), route) for route in given]
        self.routed_topics = tuple(dict.fromkeys(route.topic for route in given))
        if own_topic in self.routed_topics:
            raise ValueError(f"The layer's own topic {own_topic!r} cannot be the topic of a route as well.")
        # The same few thousand names are asked for with every record.
        self.route_of = lru_cache(maxsize=16_384)(self._find)

    @property
    def topics(self) -> tuple[str, ...]:
        return (*self.routed_topics, self.own_topic)

    def topic_of(self, group: str) -> str:
        return self.route_of(group).topic

    def codec_of(self, group: str) -> Codec:
        route = self.route_of(group)
        return self.own_codec if route is self._own else CODECS[route.format]

    def _find(self, group: str) -> Route:
        return next((route for pattern, route in self._compiled if pattern.match(group)), self._own)
