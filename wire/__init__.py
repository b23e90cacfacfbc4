"""The contract between devices, the edge agent, the twin service and every other consumer."""
