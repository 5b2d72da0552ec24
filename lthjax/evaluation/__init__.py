"""How good a table is: all-ranking, metrics, verdicts and statistics over users and seeds, groups of rows, costs.

May import: errors, embeddings, data, graph.
"""
