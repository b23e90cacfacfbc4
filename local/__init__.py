"""The whole system on one machine: brokers, database and services as processes, with nothing left behind."""
