"""Runs and tickets to look into: what `lthjax.load_run` and `lthjax.explore` give.

May import: serving and all below.
"""
