r"""Figure 4: how much may one pruning take?

    python -m experiments.paper.figure4                                        (seconds, to see that it works)
    python -m experiments.paper.figure4 --scale cpu --models mf --seeds 3
    python -m experiments.paper.figure4 --scale paper --data yelp2018 --models lightgcn

Test Recall@20 against sparsity for 5%, 10% and 20% per pruning, with as many levels as lead to about the same sparsity.
On larger data scale cpu takes 20%, 40% and 60%: there a rate's best ticket is often its first, as sparse as the rate.

Cost, bundled data: cpu 12 minutes at most for three seeds of MF on 2 CPU cores, beside other work, 23 of one core for
those of LightGCN. Scale paper is for a GPU: 102 trainings of up to 1000 epochs per model and data set.
"""

import math

from experiments import cli
from experiments.paper import scales, variants
from experiments.paper.rows import Row
from experiments.paper.scales import Study

RATES = (0.05, 0.1, 0.2)
RATES_OF_LARGER = (0.2, 0.4, 0.6)


def variants_of(study: Study, data: str) -> dict[str, dict[str, object]]:
    """One variant per rate, with levels enough to come to about the last sparsity of the scale's rate."""
    scale = scales.SCALES[study.scale]
    log_density = scale.levels * math.log1p(-scale.prune_rate)
    return {
        f"IMP-{rate:.0%}": {"prune_rate": rate, "levels": max(1, round(log_density / math.log1p(-rate)))}
        for rate in (RATES_OF_LARGER if scales.is_larger(study, data) else RATES)
    }


def main(study: Study) -> list[Row]:
    """Train what is missing, and write table and picture; returns all rows."""
    return variants.compare(study, "figure4", variants_of, "pruning rates")


if __name__ == "__main__":
    cli.run(main, Study, __doc__)
