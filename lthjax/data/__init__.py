"""From a name, a file, a matrix or a table to train, validation and test part. NumPy only, no JAX.

A new file format is a reader in `reading`; a new way to split is a rule in `split`; a data set known by name is an
entry of `catalog`. May import: errors, settings.
"""
