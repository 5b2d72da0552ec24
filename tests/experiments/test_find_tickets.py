"""The main job as it is typed: output, run folder, every bad input as one line and exit code 2."""

import dataclasses
import gzip
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import cli, find_tickets

TINY = ["--dim", "4", "--epochs", "2", "--levels", "2", "--batch-size", "64"]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Call the command line in this process: run("--dim", "4") -> (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("warnings.showwarning", print)  # put back when the test is over

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["find_tickets", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.run(find_tickets.main, find_tickets.Config, find_tickets.__doc__)
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return call


@pytest.fixture
def pairs(tmp_path):
    """A file of pairs: 20 users with 8 of 25 items each."""
    rng = np.random.default_rng(2)
    file = tmp_path / "pairs.txt"
    file.write_text("".join(f"{u} {i}\n" for u in range(20) for i in sorted(rng.choice(25, 8, replace=False))))
    return file


def without_levels(output):
    """What was printed, but for the lines that tell of levels while they train."""
    return "".join(line for line in output.splitlines(keepends=True) if not line.startswith("seed "))


def refused(outcome, *wanted):
    code, _, errors = outcome
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    for words in wanted:
        assert words in errors


def sentences_of(output):
    """The lines that are there whatever wins."""
    return [line for line in output.splitlines() if not line.startswith("The last level wins")]


def test_table_sentence_and_folder(run, pairs, tmp_path):
    code, output, errors = run("--data", pairs, *TINY, "--out", tmp_path / "run")
    assert (code, errors) == (0, "")
    table = [line for line in output.splitlines() if line.split() and line.split()[0] in ("level", "0", "1", "2")]
    assert len(table) == 4
    assert "ticket" in sentences_of(output)[-2]
    names = {entry.name for entry in (tmp_path / "run").iterdir()}
    assert {"config.json", "results.csv", "log.jsonl", "recall_vs_sparsity.png", "tickets"} <= names
    again = run("--data", pairs, *TINY, "--out", tmp_path / "run")
    assert again == (0, without_levels(output), "")
    levels = [line for line in output.splitlines() if re.match(r"seed 0, level \d of 2:", line)]
    assert [line.split(":")[0] for line in levels] == [f"seed 0, level {level} of 2" for level in range(3)]


def test_curves_are_written_beside_the_run(run, pairs, tmp_path):
    pytest.importorskip("tensorboardX")
    code, _, errors = run("--data", pairs, *TINY, "--out", tmp_path / "run", "--track", "tensorboard")
    assert (code, errors) == (0, "")
    folders = {path.parent.name for path in (tmp_path / "run" / "tensorboard" / "seed_0").rglob("events.*")}
    assert folders == {"level_00", "level_01", "level_02", "tickets"}
    assert run("--data", pairs, *TINY, "--out", tmp_path / "run")[0] == 0


def test_the_picture_has_the_format_that_is_asked_for(run, pairs, tmp_path):
    assert run("--data", pairs, *TINY, "--levels", "0", "--out", tmp_path / "run", "--picture", "pdf")[0] == 0
    assert (tmp_path / "run" / "recall_vs_sparsity.pdf").read_bytes().startswith(b"%PDF")


def test_on_a_terminal_bars_take_the_place_of_lines(run, pairs, monkeypatch, tmp_path):
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    code, output, errors = run("--data", pairs, *TINY, "--out", tmp_path / "run")
    assert code == 0
    assert "seed 0, level" not in output
    assert "levels: 100%" in errors
    assert "about " in errors


def test_metrics_of_ones_own_are_printed_and_drawn(run, pairs, tmp_path):
    flags = ("--metrics", "ndcg,recall,coverage", "--at", "5", "--evaluate-users", "9", "--seeds", "2")
    code, output, errors = run("--data", pairs, *TINY, *flags, "--out", tmp_path / "run")
    assert (code, errors) == (0, "")
    assert "best epochs are chosen by the NDCG@5 of a fixed sample, 9 of the 20 users" in output
    header = next(line for line in output.splitlines() if line.split()[:2] == ["level", "pruned"])
    assert header.split()[4:7] == ["NDCG@5", "Recall@5", "Coverage@5"]
    assert "test NDCG@5" in sentences_of(output)[-2]
    assert (tmp_path / "run" / "ndcg_vs_sparsity.png").exists()
    columns = (tmp_path / "run" / "results.csv").read_text().splitlines()[0].split(",")
    assert columns[3:9] == ["ndcg@5", "ndcg@5_sd", "recall@5", "recall@5_sd", "coverage@5", "coverage@5_sd"]
    refused(run("--data", pairs, *TINY, "--at", "26"), "--at: wanted at most 25, the number of items; got 26")


def test_the_default_folder_is_named_after_the_settings(run, pairs, tmp_path):
    for arguments in ((), (), ("--seed", "1")):
        assert run("--data", pairs, *TINY, "--levels", "0", *arguments)[0] == 0
    assert len(list((tmp_path / "runs").glob("pairs-mf-*"))) == 2


def test_several_seeds_have_a_table_of_their_means(run, pairs, tmp_path):
    code, output, errors = run("--data", pairs, *TINY, "--seeds", "2")
    assert (code, errors) == (0, "")
    assert "2 seeds, mean ± standard deviation" in output
    (folder,) = (tmp_path / "runs").glob("pairs-mf-*-seeds")
    assert {entry.name for entry in folder.iterdir()} >= {"config.json", "results.csv", "seed_0", "seed_1"}
    assert "recall@20_sd" in (folder / "results.csv").read_text().splitlines()[0]
    refused(run("--data", pairs, *TINY, "--out", folder), "--seeds")


def test_help_explains_every_flag(run):
    code, output, _ = run("--help")
    assert code == 0
    for field in dataclasses.fields(find_tickets.Config):
        assert "--" + field.name.replace("_", "-") in output
    assert "python -m experiments.find_tickets" in output


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("--prune-rate 1.5", "--prune-rate: wanted a share between 0 and 1; got 1.5"),
        ("--prune-rate abc", "--prune-rate"),
        ("--levels 1000", "--levels: wanted at most"),
        ("--dim 0", "--dim: wanted at least 1; got 0"),
        ("--batch-size -5", "--batch-size: wanted at least 1; got -5"),
        ("--learning-rate 0", "--learning-rate: wanted a positive number; got 0.0"),
        ("--learning-rate nan", "--learning-rate: wanted a number; got nan"),
        ("--negatives 0", "--negatives: wanted at least 1; got 0"),
        ("--loss bprr", "--loss: wanted one of bpr, sampled-softmax, cosine-bpr; got 'bprr' (did you mean bpr?)"),
        ("--temperature 0.1", "--temperature: wanted --loss sampled-softmax or cosine-bpr; got bpr"),
        ("--loss cosine-bpr --temperature -1", "--temperature: wanted a positive number; got -1.0"),
        ("--negative-sampling pop", "--negative-sampling: wanted one of uniform, popularity; got 'pop'"),
        (
            "--optimizer adma",
            "wanted one of adam, adamw, sgd, lion, adagrad; got 'adma' (did you mean adam?)",
        ),
        ("--model ncf", "'ncf'"),
        ("--metrics recal", "'recal' (did you mean recall?)"),
        ("--metrics recall,recall", "--metrics: wanted each once; got recall 2 times"),
        ("--metrics coverage,recall", "--metrics: wanted first one of recall, ndcg"),
        ("--at 0", "--at: wanted list lengths from 1 to 1,000"),
        ("--at 5,5", "--at: wanted each once; got 5 2 times"),
        ("--data ml-latest-small --at 5,ten", "--at: wanted list lengths"),
        ("--evaluate-users -1", "--evaluate-users: wanted 0 or more; got -1"),
        ("--evaluate-users some", "--evaluate-users"),
        ("--data None", "wanted the data"),
        ("--data movielns", "wanted a path or one of ml-latest-small"),
        ("--data ml-latest-smal", "did you mean ml-latest-small"),
        ("--data nowhere/file.txt", "nowhere/file.txt"),
        ("--colour red", "--colour"),
        ("--picture jpg", "--picture: wanted one of png, pdf, svg; got 'jpg'"),
        ("--track mlflow", "--track: wanted one of none, tensorboard, wandb"),
        ("--rewind epoch:0", "--rewind: wanted epoch:K"),
        ("--split files", "ml-latest-small"),
        ("--split by-time", "'by-time'"),
        ("--split time --columns userId,movieId,,rating", "wanted times as seconds"),
        ("--split time --split-times 2030-01-01,2031-01-01", "wanted interactions in all three parts"),
        ("--split time --split-times 2015-01-01", "--split-times: wanted two times"),
        ("--split-times 2015-01-01,2016-01-01", "--split-times: wanted --split time; got auto"),
        ("--ratios 1,2", "--ratios: wanted three positive shares"),
        ("--ratios 8,1,1 --split leave-one-out", "--ratios: wanted --split random"),
        ("--event purchase", "--event: wanted one column of events"),
        ("--event rating=7", "--event: wanted what occurs, '4' (28,750)"),
        ("--dedupe newest", "'newest'"),
        ("--core 0", "--core: wanted"),
        ("--core 1000", "--core: wanted users with 1,000"),
        ("--columns userId,,movieId", "only the rating may be empty"),
        ("--dislikes", "--dislikes wants --min-rating"),
        ("--weights squared", "'squared'"),
        ("--out /dev/null/run", "--out: cannot write in /dev/null/run"),
    ],
)
def test_bad_arguments(run, arguments, wanted):
    refused(run(*TINY, *arguments.split()), wanted)


@pytest.mark.parametrize("split", ["user-time", "time", "leave-one-out"])
def test_splits_by_time(run, split):
    flags = ["--split", split, "--core", "20", "--min-rating", "4", *TINY, "--batch-size", "4096", "--levels", "1"]
    code, output, errors = run(*flags)
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert "ratings.csv.gz: kept 51,568 of 100,004 rows, those with rating >= 4" in lines
    assert "times from 1995-01-09 to 2016-10-16 (seconds since 1970)" in lines
    assert any("20 interactions a user and 20 an item" in line for line in lines)
    assert any("by time" in line for line in lines)


def test_settings_that_came_later_do_not_change_names_of_folders():
    given = {"data": "x.csv", "dim": 8}
    assert find_tickets.mark_of(given) == find_tickets.mark_of(given | {"ratios": "0.7,0.1,0.2", "dedupe": "merge"})
    for change in ({"ratios": "8,1,1"}, {"core": "5"}, {"event": "buy"}, {"dedupe": "last"}, {"weights": "log"}):
        assert find_tickets.mark_of(given | change) != find_tickets.mark_of(given)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_one_line_does_not_depend_on_the_terminal(encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    for flags, wanted in (
        (["--prune-rate", "2"], "error: --prune-rate: wanted a share between 0 and 1; got 2.0; --help"),
        (["--zzz", "red"], "error: Unrecognized options: --zzz, red; --help"),
    ):
        command = [sys.executable, "-m", "experiments.find_tickets", *flags]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == 2
        assert done.stderr.startswith(wanted)


def test_bad_files(run, tmp_path):
    text = b"0 1 2\n1 2 3 4\n2 5\n"
    for name, content, wanted in (
        ("empty.txt", b"", "empty.txt"),
        ("word.txt", b"0 1 2.5\n0 2 x\n", "word.txt, line 2"),
        ("ragged.csv", b"user,item\n1,2\n1\n", "ragged.csv, line 3"),
        ("garbage.txt", bytes(range(256)) * 9, "garbage.txt"),
        ("cut.txt.gz", gzip.compress(text * 400)[:-30], "cut.txt.gz"),
        ("rating.csv", b"user,item,rating\n1,2,good\n", "rating.csv"),
    ):
        (tmp_path / name).write_bytes(content)
        options = {"rating.csv": "--min-rating 3", "word.txt": "--min-rating 1 --format pairs"}.get(name, "")
        refused(run("--data", tmp_path / name, *TINY, *options.split()), wanted)
    folder = tmp_path / "only-test"
    folder.mkdir()
    (folder / "train.txt").write_bytes(b"")
    (folder / "test.txt").write_bytes(text)
    refused(run("--data", folder, "--split", "files", *TINY), "only-test")
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_is_no_number_is_bad_input_too(run, pairs):
    refused(
        run("--data", pairs, *TINY, "--learning-rate", "1e38", "--init", "normal-1"),
        "level 0 of seed 0, epoch 1",
        "finite",
    )


@pytest.mark.filterwarnings("default")
def test_notes_are_lines_on_standard_error(run, pairs, tmp_path):
    run("--data", pairs, *TINY, "--out", tmp_path / "run")
    for file in (tmp_path / "run" / "tickets" / "level_02" / "arrays").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    code, _, errors = run("--data", pairs, *TINY, "--out", tmp_path / "run")
    assert code == 0
    assert errors.startswith("note: ")
    assert "level_02" in errors
    assert "Going on from level 1" in errors
    assert errors.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_stops_soon_and_the_same_command_goes_on(number, code, pairs, tmp_path):
    def start(out):
        command = [sys.executable, "-m", "experiments.find_tickets", "--data", pairs, *TINY, "--epochs", "2000"]
        command += ["--patience", "0", "--eval-every", "50", "--levels", "1", "--out", out]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    process = start(tmp_path / "cut")
    while process.poll() is None and not (tmp_path / "cut" / "log.jsonl").exists():
        time.sleep(0.01)
    process.send_signal(number)
    errors = process.communicate(timeout=120)[1]
    assert (process.returncode, errors) == (code, "stopped; the same command goes on from here.\n")
    assert os.listdir(tmp_path / "cut" / "snapshots") or os.listdir(tmp_path / "cut" / "tickets")
    outputs = []
    for out in ("cut", "whole"):
        output, errors = start(tmp_path / out).communicate(timeout=120)
        assert errors == ""
        outputs.append(without_levels(output).replace(str(tmp_path / out), ""))
    assert outputs[0] == outputs[1]
