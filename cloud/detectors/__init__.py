"""Detectors of what needs a workshop, one file each; `registry` lists those that run."""
