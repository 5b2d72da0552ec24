"""The table of variants."""

from experiments.paper import variants


def test_a_table_names_what_is_not_there(make_study):
    row = {"recall@20": 0.5, "sparsity": 0.0, "best_epoch": 3, "verdict": "dense", "selection": "test"}
    worse = row | {"sparsity": 0.5, "recall@20": 0.25, "verdict": "worse"}
    text = variants.text_of(make_study(data=("x",)), {("x", "mf"): {"IMP": [row, worse]}}, "title")
    assert "| x | mf | IMP | 0.5000 | 0.2500 | 50.0% | none |  |  | 3 |" in text
    assert "WARNING: best epochs were chosen on the test part" in text


def test_a_winner_against_an_unfinished_dense_model_is_not_sure(make_study):
    dense = {"level": 0, "recall@20": 0.5, "sparsity": 0.0, "best_epoch": 3, "verdict": "dense", "selection": "valid"}
    winner = dense | {"level": 1, "recall@20": 0.6, "sparsity": 0.5, "verdict": "wins"}
    for mark, short in (("", False), (" ?", True)):
        levels = [dense | {"cut_short": short}, winner]
        text = variants.text_of(make_study(data=("x",)), {("x", "mf"): {"IMP": levels}}, "title")
        assert f"| x | mf | IMP | 0.5000 | 0.6000 | 50.0% | 0.6000{mark} | 50.0% | 3 | 3 |" in text
