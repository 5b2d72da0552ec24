"""The machine: files written whole or not at all, checkpoints, signals, output, compiled programs, versions.

Nothing in here knows of recommenders. May import: errors.
"""
