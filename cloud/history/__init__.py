"""What each signal was over time: buckets of columns in MongoDB, written from Kafka by a reader of its own."""
