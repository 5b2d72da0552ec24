"""Tables, backbones and losses as pure functions: parameters -> layer-0 -> final embeddings -> loss.

A new backbone is one function in `backbones`, a new loss one in `losses`. May import: errors, embeddings, graph.
"""
