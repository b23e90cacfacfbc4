"""The edge agent: MQTT in, a spool on disk, Kafka out."""
