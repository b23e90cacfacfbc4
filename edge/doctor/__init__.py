"""`fleetfold-edge doctor`: whether this gateway can do the agent's work. Changes nothing, disturbs nobody."""
