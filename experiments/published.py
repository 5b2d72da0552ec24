r"""Are the dense models under the tickets as good as the published ones?

    python -m experiments.published --preset lightgcn_pytorch --data gowalla
    python -m experiments.published --preset paper_code --data yelp2018 --dim 32
    python -m experiments.published --preset lightgcn_pytorch --data gowalla --models lightgcn --epochs 5 --eval-every 5

Trains the dense MF and LightGCN of a preset and prints ours beside the published Recall@20 and NDCG@20, with the
difference in percent. Each model has a run folder of its own; the same command goes on where it was stopped. A preset
whose MF differs has a twin for it (lightgcn_pytorch_mf, recbole_bpr); flags that differ from the preset reach both.

Cost on 2 CPU cores, Gowalla, F = 64: MF 3 s per epoch, LightGCN 90 to 130 s; the presets' 1000 epochs are for a GPU, so
set --epochs on a CPU. Results are kept in experiments/LOG.md.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import lthjax
from experiments import cli
from lthjax import presets
from lthjax.errors import SettingsError
from lthjax.runtime import files
from lthjax.settings import DataSettings, Settings, values
from lthjax.tickets import report

if TYPE_CHECKING:
    from lthjax.tickets.ticket import Ticket


class Published(NamedTuple):
    """A published result on the data set's own train and test files, all-ranking at 20."""

    data: str
    model: str
    dim: int
    layers: int | None  # of LightGCN
    recall: float
    ndcg: float
    source: str
    epoch: int | None = None  # after so many epochs; None = at the end


_PYTORCH, _TENSORFLOW = "LightGCN-PyTorch README", "LightGCN (TensorFlow) README"
_BARS, _WANG = "BARS", "Wang et al. 2023, table 2"
PUBLISHED = (
    Published("yelp2018", "lightgcn", 64, 1, 0.05604, 0.04557, _PYTORCH),
    Published("yelp2018", "lightgcn", 64, 2, 0.05988, 0.04956, _PYTORCH),
    Published("yelp2018", "lightgcn", 64, 3, 0.06347, 0.05238, _PYTORCH),
    Published("yelp2018", "lightgcn", 64, 4, 0.06515, 0.05325, _PYTORCH),
    Published("yelp2018", "lightgcn", 64, 3, 0.06367, 0.05236, _TENSORFLOW),
    Published("yelp2018", "lightgcn", 64, 4, 0.0653, 0.0532, _BARS),
    Published("yelp2018", "lightgcn", 64, 3, 0.0641, 0.0527, "GRecX"),
    Published("yelp2018", "lightgcn", 32, 3, 0.0600, 0.0488, _WANG),
    Published("yelp2018", "mf", 64, None, 0.0433, 0.0354, "NGCF paper"),
    Published("yelp2018", "mf", 64, None, 0.0549, 0.0445, "later citations of NGCF"),
    Published("yelp2018", "mf", 64, None, 0.0576, 0.0468, f"{_BARS}, 50 negatives"),
    Published("yelp2018", "mf", 64, None, 0.0603, 0.0494, "GRecX, learning rate 5e-3, dropout"),
    Published("yelp2018", "mf", 32, None, 0.0459, 0.0372, _WANG),
    Published("gowalla", "lightgcn", 64, 1, 0.1687, 0.1417, _PYTORCH),
    Published("gowalla", "lightgcn", 64, 2, 0.1786, 0.1524, _PYTORCH),
    Published("gowalla", "lightgcn", 64, 3, 0.1824, 0.1547, _PYTORCH),
    Published("gowalla", "lightgcn", 64, 4, 0.1825, 0.1537, _PYTORCH),
    Published("gowalla", "lightgcn", 64, 3, 0.18236, 0.15539, _TENSORFLOW),
    Published("gowalla", "lightgcn", 64, 3, 0.10711, 0.08941, _PYTORCH, epoch=5),
    Published("gowalla", "mf", 64, None, 0.1627, 0.1378, f"{_BARS}, MF-BPR"),
    Published("gowalla", "mf", 64, None, 0.1291, 0.1109, "NGCF paper"),
)


_COLUMNS = (
    *("model", "source", "Recall@20", "NDCG@20", "best epoch", "ours, Recall", "ours, NDCG"),
    *("selection", "settings"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of both models, and where they are kept."""

    models: Literal["both", "mf", "lightgcn"] = "both"
    """Which dense models are trained; --model is not read here."""
    out: str | None = None
    """Folder of the runs; by default runs/baselines-DATA-PRESET."""

    def __post_init__(self):
        super().__post_init__()
        if not {"recall", "ndcg"} <= {*self.metric_names} or 20 not in self.lengths:
            came = f"{self.metrics} at {self.at}"
            raise SettingsError(f"--metrics: wanted recall and ndcg, at 20, as they are published; got {came}.")


def comparable(settings: Settings) -> list[Published]:
    """Published results of the same data, model and size; after the same epochs, where those were published."""
    same = [
        result
        for result in PUBLISHED
        if (result.data, result.model, result.dim) == (Path(settings.data).name, settings.model, settings.dim)
        and result.layers in (None, settings.layers)
    ]
    early = [result for result in same if result.epoch == settings.epochs]
    return early or [result for result in same if result.epoch is None]


def compared(ticket: "Ticket", settings: Settings) -> list[dict[str, object]]:
    """Ours, and a row for each published result beside it."""
    recall, ndcg = ticket.metrics["recall@20"], ticket.metrics["ndcg@20"]
    ours = {"model": settings.model, "source": "ours", "Recall@20": recall, "NDCG@20": ndcg}
    ours |= {"best epoch": str(ticket.best_epoch), "selection": settings.selection, "settings": _title(settings)}
    theirs = [
        {
            "model": settings.model,
            "source": result.source + (f", epoch {result.epoch}" if result.epoch else ""),
            "Recall@20": result.recall,
            "NDCG@20": result.ndcg,
            "ours, Recall": f"{recall / result.recall - 1:+.1%}",
            "ours, NDCG": f"{ndcg / result.ndcg - 1:+.1%}",
        }
        for result in comparable(settings)
    ]
    return [ours, *theirs]


def _title(settings: Settings) -> str:
    """Preset and overrides, but for what this experiment always sets."""
    preset = presets.find(settings.preset)
    return presets.title(dataclasses.replace(settings, levels=preset.levels, model=preset.model))


def settings_of(config: Config, model: str) -> Settings:
    """The preset of a model, with what the flags override; a preset that differs for MF names its twin."""
    twin = presets.for_model(config.preset, model)
    changes = {name: now for name, (_, now) in presets.overridden(config).items()}
    own = values(config, DataSettings) | {"model": model, "levels": 0}
    return dataclasses.replace(presets.find(twin), **(changes | own))


def main(config: Config) -> "list[Ticket]":
    """Train the dense models and print the comparison."""
    import pandas as pd  # here: --help does without

    split = lthjax.load_split(None, settings_of(config, "lightgcn"))  # a preset's MF twin splits alike
    out = Path(config.out or f"runs/baselines-{Path(config.data).stem}-{config.preset}")
    print(f"runs: {out}", flush=True)
    tickets, rows = [], []
    for model in ("mf", "lightgcn") if config.models == "both" else (config.models,):
        settings = settings_of(config, model)
        if conflict := presets.conflicts(dataclasses.replace(settings, levels=presets.find(settings.preset).levels)):
            print(conflict)
        ticket = next(lthjax.find_tickets(split, settings=settings, out=out / model))
        tickets.append(ticket)
        rows += compared(ticket, settings)
        print(f"{model}: {_title(settings)}; {ticket.epochs} epochs in {ticket.seconds:.0f} s", flush=True)
        if settings.selection == "test":
            print(report.TEST_WARNING)
        if settings.split != "files":
            print("note: published numbers are of the files' own parts (--split files)")
    table = pd.DataFrame(rows).drop(columns=["selection", "settings"])
    print(table.to_string(index=False, na_rep="", float_format=lambda x: f"{x:.4f}"))
    files.write_table(out / "comparison.csv", [dict.fromkeys(_COLUMNS, "") | row for row in rows])
    return tickets


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
