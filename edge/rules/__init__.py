"""Collection rules: which samples are sent, which are withheld, which are captured after all. Pure."""
