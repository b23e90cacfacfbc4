"""Mapping files that come with fleetfold; see `simulator.replay.mapping` for the format."""
