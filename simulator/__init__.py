"""A fleet with known truth: simulated or replayed telemetry, its people, and the oracle that verifies twins."""
