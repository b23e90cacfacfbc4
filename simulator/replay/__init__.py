"""Recorded data as devices: a table of rows, a mapping of its columns to signals, frames in order of time."""
