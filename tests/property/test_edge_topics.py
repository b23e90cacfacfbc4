"""The quick way from an MQTT topic to a series knows exactly the topics of the contract."""

from hypothesis import example, given
from hypothesis import strategies as st

from edge.spool import series as names
from wire import topics
from wire.malformed import Malformed

LEVELS = st.sampled_from(
    ["dt", "state", "cmd", "fleet", "vehicle", "station", "signals", "events", "connection", "car-1"]
)
ODD = st.text(alphabet="az09-#+ \n\0AÄ", max_size=66)


@given(st.lists(st.one_of(LEVELS, ODD), min_size=3, max_size=6).map("/".join))
@example("dt/fleet/vehicle/car-1/signals")
@example("dt/fleet/vehicle/car-1/connection")
@example("state/fleet/station/cs-1/connection")
@example("state/fleet/station/cs-1/events")
@example("dt/fleet/vehicle/car-1/signals\n")
def test_the_quick_way_is_the_slow_way(topic: str) -> None:
    address = topics.parse_mqtt_topic(topic)
    expected = None if isinstance(address, Malformed) else names.of(address)
    assert names.of_topic(topic.encode()) == expected
