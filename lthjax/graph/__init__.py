"""The training interactions on the device: the normalized adjacency, sorted id sets, the product A' X.

May import: errors, embeddings, settings, runtime, and of `data` the id lists that it puts on the device.
"""
