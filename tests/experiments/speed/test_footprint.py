"""The formulas, by hand."""

from experiments.speed import footprint
from experiments.speed.footprint import Scale

EIGHT = Scale(users=300, items=200, interactions=1_000, dim=40, batch=16, layers=2, model="lightgcn", devices=8)
MF = EIGHT._replace(model="mf")
RING = EIGHT._replace(exchange="ring")


def test_rows_fill_up_on_several_devices():
    assert footprint.table_rows(EIGHT) == (512, 256)
    assert footprint.table_rows(EIGHT._replace(devices=1)) == (300, 200)
    assert footprint.entries(EIGHT) == 768 * 40 // 8


def test_bytes_held():
    held = footprint.held(EIGHT)
    assert (held["tables"], held["masks"], held["moments"]) == (4 * 3_840, 3_840, 8 * 3_840)
    assert held["interactions"] == 4 * (2 * 1_000 + 300 + 300) // 8
    assert held["matrix"] == (16 * 1_000 + 4 * 768) // 8
    assert footprint.held(MF) == held | {"matrix": 0}
    assert footprint.kept(EIGHT) == 12 * 3_840


def test_bytes_added():
    assert footprint.gathered(EIGHT, in_turn=True) == 512 * 32 * 4
    assert footprint.gathered(EIGHT._replace(dim=16), in_turn=True) == 512 * 16 * 4
    assert footprint.gathered(EIGHT, in_turn=False) == 768 * 32 * 4
    assert footprint.gathered(EIGHT._replace(devices=1), in_turn=False) == 0
    added = footprint.added(EIGHT, in_turn=False)
    assert (added["gradient"], added["layers"]) == (4 * 3_840, (2 + 1) * 4 * 3_840)  # and slabs beside the tables
    assert footprint.added(EIGHT, in_turn=True)["layers"] == 2 * 4 * 3_840
    of_a_slab = EIGHT._replace(dim=32)
    assert footprint.added(of_a_slab, in_turn=False)["layers"] == 2 * 4 * footprint.entries(of_a_slab)
    assert added["batch"] == 2 * 6 * 16 * 40 * 4
    added = footprint.added(MF, in_turn=True)
    assert (added["gradient"], added["layers"], added["gathered"]) == (4 * 512 * 40 // 8, 0, 0)
    assert added["batch"] == 3 * 16 * 40 * 4


def test_bytes_of_a_ring():
    held = footprint.held(RING)
    assert held["matrix"] == 16 * 1_000 // 8 + 4 * 768  # a start for each row of all devices
    assert held == footprint.held(EIGHT) | {"matrix": held["matrix"]}
    assert footprint.gathered(RING, in_turn=True) == 3 * 512 * 32 * 4 // 8
    assert footprint.gathered(RING, in_turn=False) == (2 * 768 + 512) * 32 * 4 // 8
    assert footprint.exchanged(RING)["tables"] == 2 * 2 * 768 * 40 * 4 * 7 // 8  # own rows do not come
    assert footprint.sent(RING) == footprint.sent(EIGHT)
    products = 2 * 125 * 40 * 4 + 2 * (2 * 125 * 8 + 4 * 768) + (2 + 4 * 7) * 4 * 3_840
    assert footprint.moved(RING) == 33 * 3_840 + 4 * (768 * 40 * 4 * 7 // 8 + products)


def test_bytes_exchanged():
    assert footprint.exchanged(MF) == {"rows": 3 * 16 * 40 * 4, "draws": 16 * 16, "tables": 0}
    assert footprint.exchanged(EIGHT) == {"rows": 6 * 16 * 40 * 4, "draws": 256, "tables": 2 * 2 * 768 * 40 * 4}
    assert footprint.sent(MF) == 2 * (3 * 16 * 40 * 4 + 256) * 7 // 8
    assert sum(footprint.exchanged(EIGHT._replace(devices=1)).values()) == footprint.sent(MF._replace(devices=1)) == 0


def test_bytes_moved():
    assert footprint.moved(MF) == 33 * 3_840
    products = 768 * 40 * 4 + 2 * 125 * 40 * 4 + 2 * 125 * 8 * 2 + 8 * 3_840
    assert footprint.moved(EIGHT) == 33 * 3_840 + 4 * products


def test_bytes_on_the_host():
    on_host, of_mf, alone = map(footprint.on_host, (EIGHT, MF, EIGHT._replace(devices=1)))
    assert (on_host["ticket"], on_host["all pairs"]) == (9 * 3_840, 8_000)
    assert on_host["pairs"] == round(8_000 * (1 - (7 / 8) ** 3))
    assert of_mf["pairs"] == round(8_000 * (1 - (7 / 8) ** 2))
    assert alone["pairs"] == alone["all pairs"]
    assert (alone["seen"] - on_host["seen"]) == 2 * 4 * 875
