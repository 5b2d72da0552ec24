r"""The whole paper: every table and figure, and a line for each claim: it holds, does not, is open, or was not run.

    python -m experiments.paper.reproduce                                      (minutes, to see that it works)
    python -m experiments.paper.reproduce --scale cpu --models mf --seeds 3
    python -m experiments.paper.reproduce --scale paper --data yelp2018 --models mf --parts table2 figure6

Each scale and number of seeds has a folder under --out (cpu-3-seeds), with one for each data set and model and one for
each part in there. All share what they train, and a part that was stopped goes on when called again. report.md is made
of everything that lies in that folder, from this call and from earlier ones: so a long reproduction can be run in
pieces, and runs.csv remembers runs whose own folders are gone. A part whose training fails is named with the reason,
and the others go on.

Cost on 2 CPU cores, bundled data: the sum of the parts; each states its own.
"""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from experiments import cli
from experiments.paper import (
    claims,
    complexity,
    figure2,
    figure3,
    figure4,
    figure5,
    figure6,
    figure7,
    scales,
    table2,
    table3,
    who_pays,
)
from experiments.paper.rows import Row, is_cut_short, markdown
from experiments.paper.scales import Study
from lthjax import plots
from lthjax.errors import SettingsError, TrainingError
from lthjax.runtime import environment, files
from lthjax.tickets.report import TEST_WARNING

Part = Literal[
    *("table2", "figure2", "figure6", "figure7", "complexity", "who_pays"),
    *("figure5", "figure4", "figure3", "table3"),
]


def _with_flags(main: Callable[[Any], list[Row]], flags: type[Study]) -> Callable[[Study], list[Row]]:
    """A part whose flags are more than a study's: those at their defaults."""
    return lambda study: main(flags(**dataclasses.asdict(study)))


OF_THE_PAPER = ("yelp2018",)  # the one of its data sets that can be had
PARTS: dict[Part, Callable[[Study], Any]] = {  # those that share their runs follow one another
    "table2": _with_flags(table2.main, table2.Searches),
    "figure2": figure2.main,
    "figure6": figure6.main,
    "figure7": figure7.main,
    "complexity": complexity.main,
    "who_pays": _with_flags(who_pays.main, who_pays.Payers),
    "figure5": figure5.main,
    "figure4": figure4.main,
    "figure3": figure3.main,
    "table3": table3.main,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduction(Study):
    """The flags of the whole."""

    parts: tuple[Part, ...] = get_args(Part)
    """What to run; the report holds what earlier calls have run too."""

    def __post_init__(self):
        super().__post_init__()
        if not self.parts:
            raise SettingsError("--parts: wanted at least one; got none.")


def main(config: Reproduction) -> Path:
    """Run the parts, write the report; returns its path."""
    out = Path(config.out) / scales.of_scale(config)
    for data, model in itertools.product(config.data, config.models):
        folder = out / f"{Path(data).stem}-{model}"
        flags = {name: getattr(config, name) for name in ("scale", "seeds", "out")}
        study = Study(data=(data,), models=(model,), results=str(folder), **flags)
        for part in PARTS:
            if part in config.parts:
                print(f"== {data}, {plots.MODELS[model]}: {part}")
                run_part(study, part, folder)
    report = out / "report.md"
    files.write_text(report, text_of(config, out))
    print(f"report: {report}")
    return report


def run_part(study: Study, part: str, folder: Path) -> None:
    """Run a part, and keep beside its results what they are of; or why there are none.

    Args:
      study: the flags, of one data set and model.
      part: name.
      folder: of the results of all parts.
    """
    about = {"data": study.data[0], "model": study.models[0], "commit": environment.git_commit(), "error": None}
    try:
        PARTS[part](study)
    except TrainingError as error:
        about["error"] = str(error)
        print(f"{part} is left out: {error}")
    files.write_text(folder / part / "about.json", json.dumps(about, indent=1) + "\n")


@dataclasses.dataclass(frozen=True)
class Done:
    """A part of one data set and model that lies on disk."""

    folder: Path
    part: str
    about: Mapping[str, Any]
    rows: list[Row]

    @property
    def title(self) -> str:
        """Data set and model."""
        return scales.title(self.about["data"], self.about["model"])


def finished(out: Path) -> Iterator[Done]:
    """The parts under a folder that were run; those on a data set of the paper's own first."""

    def is_stand_in(about: Mapping[str, Any]) -> bool:
        return Path(about["data"]).stem not in OF_THE_PAPER

    abouts = {file: json.loads(file.read_text(encoding="utf-8")) for file in sorted(out.glob("*/*/about.json"))}
    for about_file, about in sorted(abouts.items(), key=lambda item: is_stand_in(item[1])):
        folder = about_file.parent
        if folder.name in PARTS:
            yield Done(folder, folder.name, about, [] if about["error"] else read_rows(folder / "results.csv"))


def read_rows(file: Path) -> list[Row]:
    """The rows of a results.csv, numbers as numbers, empty cells as ""."""
    import pandas as pd

    table = pd.read_csv(file)
    return table.astype(object).where(table.notna(), "").to_dict("records")


def text_of(config: Study, out: Path) -> str:
    """The report: claims, tables, pictures, and the runs behind them."""
    parts = list(finished(out))
    seeds = f"{config.seeds} seed{'s' if config.seeds > 1 else ''}"
    lines = [
        "# The lottery ticket paper, run again",
        f"Scale {config.scale}, {seeds}. Means over the seeds, ± their standard deviations. A claim holds or does not "
        "by the means; a difference of two means that is no larger than the sum of their deviations is called within "
        "the spread; open is what these runs cannot tell. Recall is Recall@20 on the test part. kuairand and "
        "tiktok-clickbait stand in for the paper's Kwai and TikTok, which can no longer be had.",
    ]
    if any(row.get("selection") == "test" for done in parts for row in done.rows):
        lines.append(TEST_WARNING)
    by_title: dict[str, dict[str, Done]] = {}
    for done in parts:
        by_title.setdefault(done.title, {})[done.part] = done
    lines += ["## The paper's claims", overview(by_title)]
    for title, of_title in by_title.items():
        lines += [f"### {title}", claims_table(of_title)]
    for done in parts:
        lines.append(f"## {done.title}: {done.part}")
        lines += section(done, out)
    lines += ["## The runs behind it", runs_table(remembered(config, out / "runs.csv"))]
    return "\n\n".join(lines) + "\n"


def overview(by_title: Mapping[str, Mapping[str, Done]]) -> str:
    """One line per claim, a column for each data set and model."""
    lines = [
        [claim.section, claim.text, *(claim_line(claim, parts)[2] for parts in by_title.values())]
        for claim in claims.ALL
    ]
    return markdown(("paper", "claim", *by_title), lines)


def claims_table(parts: Mapping[str, Done]) -> str:
    """One line per claim for one data set and model."""
    lines = [claim_line(claim, parts) for claim in claims.ALL]
    return markdown(("paper", "claim", "here", "figures behind it"), lines)


def claim_line(claim: claims.Claim, parts: Mapping[str, Done]) -> list[str]:
    """A claim, and what came of it."""
    label = [claim.section, claim.text]
    done = parts.get(claim.part)
    if done is None:
        return [*label, "not run", ""]
    if done.about["error"]:
        return [*label, "not run", done.about["error"]]
    holds, evidence = claim.judge(done.rows)
    word = {True: "holds", False: "**does not hold**", None: "open"}[holds]
    if is_cut_short(done.rows):
        word, evidence = f"{word} (?)", f"{evidence}; ? as a dense model was cut short"
    return [*label, word, f"{evidence} ({claim.part})"]


def section(done: Done, out: Path) -> list[str]:
    """Table and picture of a part."""
    if done.about["error"]:
        return [f"Not run: {done.about['error']}"]
    lines = [_below(done.folder.joinpath("table.md").read_text(encoding="utf-8"))]
    for picture in sorted(done.folder.glob("figure.*")):
        shown = "" if picture.suffix == ".pdf" else "!"  # which Markdown cannot show
        lines.append(f"{shown}[{done.part}]({picture.relative_to(out).as_posix()})")
    return lines


def _below(markdown: str) -> str:
    """A table's own title is the section's already."""
    first, _, rest = markdown.strip().partition("\n")
    return rest.strip() if first.startswith("## ") else markdown.strip()


_RUN = {
    "folder": "folder",
    "seeds": "seeds",
    "settings": "settings other than the defaults",
    "commit": "commit",
    "device": "device",
}


def remembered(config: Study, ledger: Path) -> list[Row]:
    """One row per folder of runs: those on disk, and those that an earlier call has written down; writes down all."""
    import pandas as pd

    known = {}
    if ledger.exists():  # all of it text: 8438638 is a commit, not a number
        table = pd.read_csv(ledger, dtype=str, keep_default_na=False)
        known = {row["folder"]: row for row in table.to_dict("records")}
    known |= {row["folder"]: row for row in runs_in(Path(config.out) / "runs", config)}
    rows = [row for _, row in sorted(known.items())]
    if rows:
        files.write_table(ledger, rows)
    return rows


def runs_in(root: Path, config: Study) -> Iterator[Row]:
    """One row per folder on disk with runs of the scale and all seeds: what, with which settings, commits and devices.

    Those of other scales have other epochs; those with fewer seeds are under way, or of another report.
    """
    epochs = scales.SCALES[config.scale].epochs
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        configs = []
        for file in sorted(folder.glob("seed_*/config.json")):
            with contextlib.suppress(ValueError):  # a run that is being written this moment
                configs.append(json.loads(file.read_text(encoding="utf-8")))
        if len(configs) >= config.seeds and configs[0]["settings"]["epochs"] == epochs:
            yield {
                "folder": folder.name,
                "seeds": ", ".join(str(config["settings"]["seed"]) for config in configs),
                "settings": _changes(configs[0]),
                "commit": ", ".join(dict.fromkeys(_short(config["git_commit"]) for config in configs)),
                "device": ", ".join(dict.fromkeys(config["device"] for config in configs)),
            }


def runs_table(rows: Sequence[Row]) -> str:
    """The rows of runs as Markdown."""
    return markdown(tuple(_RUN.values()), [[row[name] for name in _RUN] for row in rows])


def _short(commit: str | None) -> str:
    if commit is None:
        return "unknown"
    return commit[:7] + ("+changes" if commit.endswith("+changes") else "")


def _changes(config: Mapping[str, Any]) -> str:
    """The settings of a config.json that differ from the defaults; of a split made in code its name."""
    settings = config["settings"]
    if settings.get("data", "") is None:
        settings = settings | {"data": config["data"]["name"]}
    default = dataclasses.asdict(scales.SCALES["cpu"])
    changes = {name: value for name, value in settings.items() if name != "seed" and default.get(name) != value}
    return ", ".join(f"{name} {value}" for name, value in changes.items())


if __name__ == "__main__":
    cli.run(main, Reproduction, __doc__)
