"""Pictures: Recall against sparsity, training curves, and what is inside tickets. Every function draws into an Axes.

`lthjax.plots` has the curves, `lthjax.pictures` is `tables`: masks, rows, weights. May import: errors, runtime,
pruning, evaluation.
"""

from lthjax.plots.curves import recall_vs_sparsity, save_comparison, save_recall_vs_sparsity, several, training_curves
from lthjax.plots.style import MODELS, TICKET, WINNER, Picture, plain, readable, save, style

__all__ = [
    "MODELS",
    "TICKET",
    "WINNER",
    "Picture",
    "plain",
    "readable",
    "recall_vs_sparsity",
    "save",
    "save_comparison",
    "save_recall_vs_sparsity",
    "several",
    "style",
    "training_curves",
]
