"""From a program to a trained table: batches, masked optimizers, the compiled step, and the loop with its early stop.

May import: all of errors, embeddings, settings, runtime, graph, pruning, model, evaluation.
"""
