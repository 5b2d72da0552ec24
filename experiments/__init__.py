"""Experiments: one module a question, each run as `python -m experiments.NAME`."""
