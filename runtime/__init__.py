"""What every fleetfold process needs around its work: settings, logs, health endpoint, stop signals."""
