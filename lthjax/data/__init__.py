"""From a name, a file, a matrix or a table to train, validation and test part. No JAX; pandas and SciPy when needed.

A new file format is a line of `formats` and a sheet in `text` or `frames`; a new way to split is a rule in `rules`;
a data set known by name is an entry of `catalog`. May import: errors, settings.
"""
