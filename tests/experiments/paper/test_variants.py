"""The table of variants."""

from experiments.paper import variants


def test_a_table_names_what_is_not_there(make_study):
    row = {"recall@20": 0.5, "sparsity": 0.0, "best_epoch": 3, "verdict": "dense", "selection": "test"}
    worse = row | {"sparsity": 0.5, "recall@20": 0.25, "verdict": "worse"}
    text = variants.text_of(make_study(data=("x",)), {("x", "mf"): {"IMP": [row, worse]}}, "title")
    assert "| x | mf | IMP | 0.5000 | 0.2500 | 50.0% | none |  |  | 3 |" in text
    assert "WARNING: best epochs were chosen on the test part" in text
