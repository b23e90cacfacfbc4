"""The spool: what was received, durable on disk, until Kafka has confirmed it. Formats: `files` and `records`."""
