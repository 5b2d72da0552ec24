"""Tickets at work: files of a few bytes, recommendations with NumPy and SciPy alone, rows for new users and items.

`compressed`, `file_format`, `packing`, `top_k`, `ids` and `scipy_lightgcn` load no JAX. May import: search and all
below.
"""
