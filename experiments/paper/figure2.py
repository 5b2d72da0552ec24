r"""Figure 2: do tickets need iterative magnitude pruning, or would one jump (OMP) or random pruning (RP) do?

The paper's random pruning makes all rows about as long. Ours stands beside it: random too, rows by degree.

    python -m experiments.paper.figure2                                        (seconds, to see that it works)
    python -m experiments.paper.figure2 --scale cpu --models mf --seeds 3
    python -m experiments.paper.figure2 --scale paper --data yelp2018

Test Recall@20 against sparsity of all on each data set and model, the dense baseline dotted, a star on each one's
sparsest winning ticket. All are pruned to the same sizes and share their dense models.

Cost on 2 CPU cores, bundled data: quick 30 s for two seeds of both models; cpu 5 minutes for three seeds of MF,
or 7 of one core for those of LightGCN. Scale paper is for a GPU: 3 x 29 trainings of up to 1000 epochs per model and
data set.
"""

from experiments import cli
from experiments.paper import variants
from experiments.paper.rows import Row
from experiments.paper.scales import Study

VARIANTS = {
    "IMP": {},
    "OMP": {"prune_parent": "dense"},
    "RP": {"prune_parent": "dense", "prune_by": "random"},
    "RP by degree": {"prune_parent": "dense", "prune_by": "random-by-degree"},
}


def main(study: Study) -> list[Row]:
    """Train what is missing, and write table and picture; returns all rows."""
    return variants.compare(study, "figure2", lambda study, data: VARIANTS, "IMP, OMP and RP")


if __name__ == "__main__":
    cli.run(main, Study, __doc__)
