"""Tickets at work: files of a few bytes, recommendations with NumPy and SciPy alone, rows for new users and items.

All but `export`, `fold_in` and `new_rows` load no JAX. May import: search and all below.
"""
