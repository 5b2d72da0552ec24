r"""Figure 3: are there winning tickets in tables of every width?

    python -m experiments.paper.figure3                                        (seconds, to see that it works)
    python -m experiments.paper.figure3 --scale cpu --models mf --seeds 3
    python -m experiments.paper.figure3 --scale paper --data yelp2018

Test Recall@20 against sparsity for F = 16, 32, 64 and 128 (quick: 4 and 8; on larger data cpu: 16, 32 and 64), each
with its own dense baseline dotted.

Cost, bundled data: a run of MF at F = 32 takes 36 s on 2 CPU cores at scale cpu (not timed as a whole), three seeds of
LightGCN 20 minutes of one core. Scale paper is for a GPU: 4 x 29 trainings of up to 1000 epochs per model and data set.
"""

from experiments import cli
from experiments.paper import scales, variants
from experiments.paper.rows import Row
from experiments.paper.scales import Study

DIMS = {"quick": (4, 8), "cpu": (16, 32, 64, 128), "paper": (16, 32, 64, 128)}
DIMS_OF_LARGER = (16, 32, 64)


def variants_of(study: Study, data: str) -> dict[str, dict[str, int]]:
    """One variant per size."""
    dims = DIMS_OF_LARGER if scales.is_larger(study, data) else DIMS[study.scale]
    return {f"IMP-{dim}d": {"dim": dim} for dim in dims}


def main(study: Study) -> list[Row]:
    """Train what is missing, and write table and picture; returns all rows."""
    return variants.compare(study, "figure3", variants_of, "embedding sizes")


if __name__ == "__main__":
    cli.run(main, Study, __doc__)
