"""What staff ask: twins, anomalies, customers. Read only, by indexes."""
