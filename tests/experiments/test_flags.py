"""Headings change no flag; wrong flags and values are told in one form; what is no command says so."""

import contextlib
import dataclasses
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from experiments import cli, find_tickets, flags, published
from lthjax.field_docs import field_docs
from lthjax.settings import FitSettings, flag

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted((ROOT / "experiments").rglob("[a-z]*.py"))
COMMANDS = [path for path in MODULES if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
SLOW_TO_IMPORT = {"flax", "jax", "matplotlib", "optax", "orbax", "pandas", "polars", "pyarrow", "rich", "scipy"}


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.fixture
def parse(monkeypatch):
    """What flags give: words, config type -> config; or, of what is refused, the one line."""

    def call(*words, config_type=find_tickets.Config):
        monkeypatch.setattr(sys, "argv", ["command", *words])
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.suppress(SystemExit):
            return cli._parse(config_type, "", find_tickets.MOST_USED)
        return errors.getvalue()

    return call


@pytest.mark.parametrize("config_type", [find_tickets.Config, published.Config])
def test_without_flags_all_are_as_the_dataclass_has_them(parse, config_type):
    assert parse(config_type=config_type) == config_type()


@pytest.mark.parametrize("field", dataclasses.fields(find_tickets.Config), ids=lambda field: field.name)
def test_each_flag_changes_its_own_field(parse, field):
    if field.name == "preset":
        wanted, words = "recbole", ["--preset", "recbole"]
        assert parse(*words).preset == wanted
        return
    special = {
        "core": "5",
        "ratios": "0.8,0.1,0.1",
        "split_times": "2015-01-01,2016-01-01",
        "temperature": 0.5,
        "metrics": "ndcg",
        "at": "10",
        "rewind": "lr",
        "sparsities": "0.5,0.75",
        "prune_parent": "dense",
        "search_epochs": 3,
        "min_per_row": 3,
        "seeds": 2,
        "prune_scope": "user",
    }
    with_them = {
        "search_epochs": ["--search", "short"],
        "min_per_row": ["--prune-scope", "row"],
        "split_times": ["--split", "time"],
        "temperature": ["--loss", "sampled-softmax"],
        "num_processes": ["--coordinator", "host:1234"],
        "process_id": ["--coordinator", "host:1234"],
        "exchange": ["--devices", "2"],
    }.get(field.name, [])
    before = parse(*with_them)
    now = getattr(before, field.name)
    if field.name in special:
        wanted = special[field.name]
    elif get_origin(field.type) is Literal:
        wanted = next(choice for choice in get_args(field.type) if choice != now)
    elif field.type is bool:
        wanted = not now
    else:
        wanted = {int: 7, int | None: 2, float: 0.25, float | None: 2.5, str | None: "given", bool | None: True}[
            field.type
        ]
    words = [flag(field.name)] if field.type is bool else [flag(field.name), str(wanted)]
    after = parse(*with_them, *words)
    changed = {f.name for f in dataclasses.fields(after) if getattr(after, f.name) != getattr(before, f.name)}
    assert changed <= {field.name, "preset"} | ({*vars(before)} if field.name == "model" else set())
    assert getattr(after, field.name) == wanted


def test_the_most_used_come_first_and_each_group_has_its_heading():
    groups = flags.grouped(find_tickets.Config(), find_tickets.MOST_USED)
    names = [field.name for field in dataclasses.fields(groups)]
    assert names[:2] == ["most_used", "preset"]
    assert names[-2:] == ["run", "device"]
    assert tuple(vars(groups.most_used)) == find_tickets.MOST_USED
    assert len(find_tickets.MOST_USED) == 10
    assert type(groups.fit).__doc__ == FitSettings.__doc__
    assert flags.flat(groups) == dataclasses.asdict(find_tickets.Config())


def test_every_field_has_an_explanation():
    texts = field_docs(find_tickets.Config)
    assert set(texts) == {field.name for field in dataclasses.fields(find_tickets.Config)}
    assert texts["patience"] == "Epochs without a better selection value after which a level stops; 0 = never."


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--modle mf", "Unrecognized options: --modle, mf (did you mean --model?)"),
        ("--lvels=3", "Unrecognized options: --lvels=3 (did you mean --levels?)"),
        ("--qqq", "Unrecognized options: --qqq"),
        ("--min-rating buy", "--min-rating: wanted a number; got 'buy'"),
        ("--min_rating=buy", "--min-rating: wanted a number; got 'buy'"),
        ("--prune-rate abc", "--prune-rate: wanted a number; got 'abc'"),
        ("--levels 3.5", "--levels: wanted a whole number; got '3.5'"),
        ("--prune-rate 2", "--prune-rate: wanted a share between 0 and 1; got 2.0"),
        ("--seeds", "--seeds: wanted a value; got none"),
        ("--together maybe", "--together: wanted one of False, None, True; got 'maybe'"),
        ("--model lightgnc", "--model: wanted one of mf, lightgcn; got 'lightgnc' (did you mean lightgcn?)"),
        ("--exchange rings", "--exchange: wanted one of gather, ring; got 'rings' (did you mean ring?)"),
        ("--exchange ring", "--exchange ring: wanted several --devices, or --coordinator, with it; got none"),
        ("--track mlflow", "--track: wanted one of none, tensorboard, wandb; got 'mlflow'"),
    ],
)
def test_what_is_wrong_is_told_in_one_form(parse, words, wanted):
    assert parse(*words.split()) == f"error: {wanted}; --help explains every flag.\n"


def start(path, *words, code=None):
    command = [sys.executable, *(["-c", code] if code else ["-m", name_of(path)]), *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", ["cli.py", "paper/scales.py"])
def test_what_is_no_command_says_so(name):
    done = start(ROOT / "experiments" / name, "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: experiments\.\S+ is no command, but a part of others; .*\n", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("path", COMMANDS, ids=name_of)
def test_help_comes_without_packages_that_take_long_to_import(path):
    code = f"""
import atexit, runpy, sys
sys.argv[1:] = ["--help"]
atexit.register(lambda: print(*({SLOW_TO_IMPORT!r} & sys.modules.keys()), file=sys.stderr))
runpy.run_module({name_of(path)!r}, run_name="__main__", alter_sys=True)
"""
    done = start(path, code=code)
    assert done.returncode == 0
    assert "usage: " in done.stdout
    assert done.stderr.split() == []
