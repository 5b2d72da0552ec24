"""MagPrune: the smallest weights of a trained table set to 0, and nothing trained after: the floor under every method.

After `chenxing1999/recsys-benchmark:scripts/lightgcn/run_mag_prune.py`: users and items each by themselves, every row
keeps at least m entries, and m is the one that is best on the validation part. It tries m by bisection or one by one;
here one by one, and by Recall instead of NDCG (or --metrics), as lthjax chooses everything else.

Letters: M users, N items, F dimensions, R rows.
"""

from collections.abc import Callable

from lthjax import metric_names
from lthjax.embeddings import Embeddings
from lthjax.evaluation.ranking import RankingTask, evaluate
from lthjax.pruning.rules import Pruned, most_per_row, prune_to_sparsity


def best(
    trained: Embeddings,
    sparsity: float,
    embed: Callable[[Embeddings], Embeddings],
    selection: RankingTask,
    ks: tuple[int, ...] = (20,),
    metrics: tuple[str, ...] = metric_names.DEFAULT,
) -> Pruned:
    """The best of all m by the first metric at ks[0] on the selection part; of equals the smallest.

    Args:
      trained: layer-0 table.
      sparsity: share that falls.
      embed: layer-0 table -> final embeddings.
      selection: the part to choose on; it is ranked F (1 - sparsity) + 1 times.
      ks: places.
      metrics: the first, of users, counts.
    """

    def value(min_per_row: int) -> float:
        pruned = prune_to_sparsity(trained, sparsity, min_per_row=min_per_row)
        return evaluate(embed(pruned.params), selection, ks[:1], metrics=metrics).means()[f"{metrics[0]}@{ks[0]}"]

    # max takes the first of equals. Only the winner is made twice: all tables at once would be F of them.
    winner = max(range(most_per_row(trained.user.shape[1], sparsity) + 1), key=value)
    return prune_to_sparsity(trained, sparsity, min_per_row=winner)
