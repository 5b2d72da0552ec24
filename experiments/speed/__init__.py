"""How fast is it? Benchmarks, each beside a peer in one run; none is a test.

A benchmark is a module with its question, flags and table, and one named `..._sides` with what is timed. The second is
imported where it is used: with it comes JAX, which --help does without. What they share: `benchmark`, `timing`,
`pytorch`, `stepping`.
"""
