"""What a record of the log says is taken only for the asset and the channel that it stands under."""

import pytest
from msgspec.structs import replace

from cloud.inbox import open_record
from tests.cloud_world import NOW_MS, TOPIC_OF, frame, record

MADE = record("a", [frame(NOW_MS, {"Vehicle.Speed": 1})])


def test_a_batch_under_its_own_key_and_topic_is_opened() -> None:
    opened = open_record(MADE)
    assert opened.delivery is not None
    assert opened.dead_letters == []


@pytest.mark.parametrize(
    ("elsewhere", "reason"),
    [
        (replace(MADE, key=b"b"), "wrong_asset"),
        (replace(MADE, key=b""), "wrong_asset"),
        (replace(MADE, topic=TOPIC_OF["events"]), "wrong_shape"),
        (replace(MADE, topic=TOPIC_OF["connection"]), "wrong_shape"),
    ],
)
def test_a_batch_under_another_key_or_topic_is_a_dead_letter_as_a_whole(elsewhere, reason) -> None:
    """Else whoever may produce could speak for an asset from a partition that another worker reads."""
    opened = open_record(elsewhere)
    assert opened.delivery is None
    (letter,) = opened.dead_letters
    assert (letter.reason, letter.value, letter.asset_id) == (reason, MADE.value, elsewhere.key.decode())
