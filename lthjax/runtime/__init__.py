"""The machine: files written whole or not at all, checkpoints, Ctrl-C, compiled programs, versions and devices.

Nothing in here knows of recommenders. May import: errors.
"""
