"""What services tell on `/metrics`, as the benchmarks read it."""

import urllib.request
from collections.abc import Iterator
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from local import ports

_ANSWER_LIMIT_S: Final = 5.0


def samples(port: int) -> Iterator[Sample]:
    """Every sample of a local service. Raises OSError while it does not answer."""
    with urllib.request.urlopen(f"http://{ports.HOST}:{port}/metrics", timeout=_ANSWER_LIMIT_S) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        yield from family.samples


def totals(*of_ports: int) -> dict[str, float]:
    """Every metric, summed over its labels and the services of one kind. Raises OSError while one does not answer."""
    found: dict[str, float] = {}
    for port in of_ports:
        for sample in samples(port):
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found
