"""Which entries are kept: masks, the rules that choose what is pruned, and how many are kept at each level.

A new pruning rule is one function in `rules`: a score for every entry, the lowest of which are pruned. May import:
errors, embeddings, settings.
"""
