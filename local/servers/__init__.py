"""Brokers and the database as child processes on loopback, or the ones that the environment names."""
