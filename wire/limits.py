"""The limits every part enforces on what it reads. Units are last in the names."""

from typing import Final

PAYLOAD_BYTES_MAX: Final = 64 * 1024
"""Largest MQTT payload that is a frame, an event or a connection state."""

MQTT_PACKET_BYTES_MAX: Final = 1_048_576
"""What brokers let through: more than any message of the contract; the agent keeps what is too large, and says so."""

MQTT_IN_FLIGHT_MESSAGES: Final = 1_000
"""Unacknowledged messages of a connection: what brokers allow, and what agent and simulator ask for by default."""

SIGNALS_PER_FRAME_MAX: Final = 512
SAMPLES_PER_FRAME_MAX: Final = 1_000
"""Largest `dt` list."""

TEXT_CHARS_MAX: Final = 1_024
LIST_ITEMS_MAX: Final = 256
"""Longest list that is one value."""
NAME_CHARS_MAX: Final = 256
"""Longest key of a map: a path, a measurand, a consent."""
NESTING_MAX: Final = 8
"""Deepest nesting of lists and maps in any message."""

BATCH_FRAMES_MAX: Final = 1_000
ARRAY_ITEMS_MAX: Final = max(SAMPLES_PER_FRAME_MAX, BATCH_FRAMES_MAX)
"""Longest list in any message: a decoder makes room for as many as a message declares."""
BATCH_BYTES_MAX: Final = 800_000
"""Sum of the payloads in one Kafka record: stays below Kafka's default of 1 MiB with headers."""

DEAD_LETTER_BYTES_MAX: Final = 800_000
"""Bytes of an original kept in a dead letter; what is longer is cut and says so."""

TIME_MS_MIN: Final = 946_684_800_000
"""2000-01-01T00:00:00Z: an earlier time is a device without a clock."""

TIME_MS_MAX: Final = 4_102_444_799_999
"""The last millisecond of 2099."""

CLOCK_AHEAD_MS_MAX: Final = 24 * 3_600_000
"""A source time further ahead of the receive time than this is impossible: it would stay newest for ever."""

SEQUENCE_MAX: Final = 2**53 - 1
"""Largest integer that JSON readers keep exact; databases hold it as well."""
