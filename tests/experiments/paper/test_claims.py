"""The paper's claims, judged by rows made by hand."""

from experiments.paper import claims


def row(sparsity, recall, verdict, **more):
    return {"sparsity": sparsity, "recall@20": recall, "verdict": verdict, "variant": "IMP", "level": 1} | more


DENSE = row(0.0, 0.20, "dense")
RUN = [DENSE, row(0.27, 0.21, "better"), row(0.65, 0.20, "wins"), row(0.95, 0.10, "worse")]


def of(variant, rows):
    return [level | {"variant": variant} for level in rows]


def judged(finding):
    return finding.holds


def test_winners_of_one_run():
    assert claims.winners_exist(RUN) == (True, "sparsest winner 65.0% (0.2000)")
    assert claims.winners_exist([DENSE, RUN[3]]) == (False, "sparsest winner none")
    assert judged(claims.some_are_better(RUN))
    assert not judged(claims.some_are_better([DENSE, RUN[2]]))
    assert [judged(claims.wins_at(sparsity)(RUN)) for sparsity in (0.27, 0.65, 0.95, 0.8)] == [True, True, False, None]


def test_variants_against_each_other():
    one_shot = [DENSE, row(0.27, 0.22, "wins"), row(0.65, 0.15, "worse")]
    rows = [*of("IMP", RUN), *of("OMP", one_shot), *of("RP", [DENSE, row(0.27, 0.1, "worse")])]
    assert judged(claims.none_wins("RP")(rows))
    assert not judged(claims.none_wins("OMP")(rows))
    assert judged(claims.every_variant_wins("IMP", "OMP")(rows))
    assert not judged(claims.every_variant_wins()(rows))
    assert judged(claims.sparser("IMP", "OMP")(rows))
    assert not judged(claims.sparser("OMP", "IMP")(rows))
    finding = claims.higher("IMP", "OMP")(rows)
    assert finding == (False, "best: IMP 0.2100 at 27.0%, OMP 0.2200 at 27.0%")
    assert not judged(claims.about_as_sparse(rows))
    assert judged(claims.about_as_sparse([*of("a", RUN), *of("b", RUN)]))


def test_without_winners_what_is_said_of_them_is_open():
    rows = [*of("init", [DENSE, RUN[3]]), *of("none", [DENSE, RUN[3]])]
    assert claims.sparser("init", "none")(rows) == (None, "neither wins")
    assert claims.about_as_sparse(rows).holds is None
    assert claims.learns_faster([{"verdict": "matches", "seeds": 2, "seeds_that_reach": 2}]).holds is None


def test_at_par():
    dense, few, some, most = (level | {"data": "x"} for level in RUN)
    finding = claims.at_par([dense, few | {"verdict": "worse"}, some | {"verdict": "matches"}, most])
    evidence = "wanted 48% kept or less; the sparsest that is not worse beyond doubt: 0.2000 at 65.0%, dense 0.2000"
    assert finding == (True, evidence)
    assert claims.at_par([dense, few, row(0.5, 0.2, "matches"), most]).holds is None  # 52% lies between two levels
    assert claims.at_par([dense, most]).holds is None
    assert claims.at_par([dense, few | {"verdict": "worse"}]).holds is False  # the dense model itself is not pruned
    assert claims.at_par([dense, few, row(0.5, 0.2, "worse"), most]).holds is False
    of_kwai = dense | {"data": "kuairand"}  # where 83% pruned are wanted
    assert claims.at_par([of_kwai, few, some, row(0.8, 0.1, "worse")]).holds is False
    assert claims.at_par([of_kwai, few, some, row(0.85, 0.1, "worse")]).holds is None


def test_where_levels_end_nothing_is_known_of_the_highest_sparsity():
    open_end = [DENSE, row(0.5, 0.21, "wins"), row(0.75, 0.21, "wins")]
    both = [*of("init", open_end), *of("none", open_end)]
    assert claims.sparser("init", "none")(both).holds is None
    assert claims.about_as_sparse(both).holds is None
    assert judged(claims.sparser("init", "none")([*of("init", open_end), *of("none", RUN)]))
    assert judged(claims.sparser("none", "init")([*of("init", open_end), *of("none", RUN)])) is False
    early = [DENSE, row(0.4, 0.21, "wins"), row(0.75, 0.1, "worse")]
    assert claims.about_as_sparse([*of("5%", open_end), *of("10%", RUN)]).holds is None  # 75% at least, and 65%
    assert claims.about_as_sparse([*of("5%", open_end), *of("10%", early)]).holds is False  # whatever comes after 75%


def test_a_difference_within_the_spread_is_called_so():
    first, second = ([DENSE, row(0.5, recall, "wins") | {"recall@20_sd": 0.01}] for recall in (0.21, 0.20))
    rows = [*of("init", first), *of("none", second)]
    assert claims.higher("init", "none")(rows).evidence.endswith("(within the spread)")
    assert claims.higher("init", "none")([*of("init", first), *of("none", first)]).holds is None
    far = [*of("init", first), *of("none", [DENSE, second[1] | {"recall@20": 0.15}])]
    assert not claims.higher("init", "none")(far).evidence.endswith("(within the spread)")


def test_rates():
    slow = [DENSE, row(0.5, 0.23, "wins", level=10)]
    fast = [DENSE, row(0.5, 0.22, "wins", level=3)]
    assert judged(claims.falls_with_rate([*of("5%", slow), *of("20%", fast)]))
    assert not judged(claims.falls_with_rate([*of("5%", fast), *of("20%", slow)]))
    assert judged(claims.fewer_levels([*of("5%", slow), *of("20%", fast)]))
    assert not judged(claims.fewer_levels([*of("5%", fast), *of("20%", slow)]))
    assert judged(claims.fewer_levels([*of("5%", slow), *of("20%", [DENSE, RUN[3]])])) is None


def test_methods_at_equal_sizes():
    rows = [
        row(at, recall, "", variant=name, dim=64)
        for name, values in (("ticket", (0.3, 0.2)), ("PEP", (0.25, 0.21)), ("LCM", (0.1, 0.1)))
        for at, recall in zip((0.5, 0.75), values, strict=True)
    ]
    finding = claims.beats("ticket", "PEP")(rows)
    assert finding == (
        False,
        "ticket / PEP, F = 64, 50%: 0.3000 / 0.2500; F = 64, 75%: 0.2000 / 0.2100",
    )
    assert judged(claims.beats("PEP", "LCM")(rows))
    assert claims.beats("PEP", "LCM")(rows[:3] + rows[4:]).holds is None  # a cell is empty
    without = [cell for cell in rows if cell["variant"] != "PEP"]  # no cell at all
    assert claims.beats("PEP", "LCM")(without).holds is None


def test_speed_magnitude_and_rows():
    quick = {"verdict": "wins", "seeds": 2, "seeds_that_reach": 2, "relative": 3.0}
    assert judged(claims.learns_faster([quick, quick | {"relative": 1.5}]))
    assert not judged(claims.learns_faster([quick, quick | {"relative": 0.5}]))
    late = quick | {"seeds_that_reach": 1, "relative": 9.0}
    assert not judged(claims.learns_faster([late]))
    assert claims.learns_faster([quick, late]) == (
        False,
        "1 of 2 winners get there with all seeds, 3.0 to 3.0 times as fast",
    )
    assert judged(claims.keeps_the_large([{"sparsity": 0.5, "tenth_1": 0.1, "tenth_10": 0.9}]))
    assert not judged(claims.keeps_the_large([{"sparsity": 0.5, "tenth_1": 0.1, "tenth_10": 0.4}]))
    last = {"sparsity": 0.5, "dim": 8, "largest_item": 4.0, "mean_user": 2.0, "mean_item": 1.0}
    assert judged(claims.rows_are_short([last | {"largest_user": 4.0}]))
    assert not judged(claims.rows_are_short([last | {"largest_user": 8.0}]))
