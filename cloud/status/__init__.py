"""How the twin service does, for people and scripts: asked of Kafka, MongoDB and the workers themselves."""
