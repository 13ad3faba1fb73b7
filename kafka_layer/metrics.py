"""The layer's figures for Prometheus: `REGISTRY.register(LayerCollector(get_channel_layer()))`.

The one module that needs the package prometheus_client.
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kafka_layer.layer import KafkaChannelLayer


class LayerCollector(Collector):
    """Reads the figures when they are asked for; see README.md for what each name counts."""

    def __init__(self, layer: KafkaChannelLayer, *, prefix: str = "kafka_layer") -> None:
        self._layer = layer
        self._prefix = prefix

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            f"{self._prefix}_ready", "1 while this process receives.", value=float(self._layer.ready)
        )
        for name, number in self._layer.gauges.items():
            yield GaugeMetricFamily(f"{self._prefix}_{name}", f"Channel layer: {name} now.", value=number)
        events = CounterMetricFamily(f"{self._prefix}_events", "What happened in the channel layer.", labels=["event"])
        for name, number in self._layer.counters.items():
            events.add_metric([name], number)
        yield events
        histogram = self._layer.publish_seconds
        buckets = [(f"{bound:g}".replace("inf", "+Inf"), count) for bound, count in histogram.buckets()]
        yield HistogramMetricFamily(
            f"{self._prefix}_publish_seconds",
            "From publish or group_send until Kafka has confirmed the record.",
            buckets=buckets,
            sum_value=histogram.sum,
        )

    def describe(self) -> list[Metric]:
        """Nothing: asking the layer at registration would make its connections."""
        return []
