"""The twin service: folds Kafka's events into one MongoDB document per asset, and answers for it."""
