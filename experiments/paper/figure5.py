r"""Figure 5: what does rewinding to the first values do?

    python -m experiments.paper.figure5                                        (seconds, to see that it works)
    python -m experiments.paper.figure5 --scale cpu --models mf --seeds 3
    python -m experiments.paper.figure5 --scale paper --data yelp2018

Test Recall@20 against sparsity for five starts of a ticket: the first values (init: the lottery ticket hypothesis), the
values after a tenth of the epochs (epoch:K), fresh ones (reinit), the trained ones (none: the paper's "w/o rewind"),
and the trained ones with a fresh optimizer (lr).

Cost on 2 CPU cores, bundled data: quick 30 s for two seeds of both models; cpu 5 minutes for three seeds of MF,
or 10 of one core for those of LightGCN. Scale paper is for a GPU: 5 x 29 trainings of up to 1000 epochs per model and
data set.
"""

from experiments import cli
from experiments.paper import scales, variants
from experiments.paper.rows import Row
from experiments.paper.scales import Study


def variants_of(study: Study, data: str) -> dict[str, dict[str, str]]:
    """The five modes, the same for all data; K is a tenth of the epochs."""
    del data
    epoch = max(1, scales.SCALES[study.scale].epochs // 10)
    return {mode: {"rewind": mode} for mode in ("init", f"epoch:{epoch}", "reinit", "none", "lr")}


def main(study: Study) -> list[Row]:
    """Train what is missing, and write table and picture; returns all rows."""
    return variants.compare(study, "figure5", variants_of, "rewind modes")


if __name__ == "__main__":
    cli.run(main, Study, __doc__)
