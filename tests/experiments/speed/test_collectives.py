"""What a compiled program exchanges is read from its text."""

from experiments.speed import collectives

TEXT = """
%fused (p: f32[8,4]) -> f32[8,4] {
  %all-reduce = (s32[16]{0}, f32[16,4]{1,0}, pred[8]{0}) all-reduce(%a, %b, %c), channel_id=1, to_apply=%region
  %all_gather.3 = f32[64,4]{1,0} all-gather(%all-reduce.1), channel_id=2, dimensions={0}
  %start = (bf16[4]{0}, bf16[32]{0}) all-gather-start(%x), channel_id=3
  %done = bf16[32]{0} all-gather-done(%start)
  %sort.1 = (f32[9]{0}, s32[9]{0}) sort(%k, %v), dimensions={0}
  ROOT %all-reduce.9 = s32[] all-reduce(%n), to_apply=%region
}
"""


def test_operations_and_their_bytes():
    read = collectives.operations(TEXT)
    assert [operation.name for operation in read] == ["all-reduce", "all-gather", "all-gather", "all-reduce"]
    assert [operation.shapes for operation in read] == [((16,), (16, 4), (8,)), ((64, 4),), ((32,),), ((),)]
    assert [operation.num_bytes for operation in read] == [64 + 256 + 8, 1_024, 64, 4]
    assert collectives.bytes_by_name(read) == {"all-reduce": 332, "all-gather": 1_088}


LOOP = """
%body.3 (p: f32[8,4]) -> f32[8,4] {
  %all_gather.3 = f32[64,4]{1,0} all-gather(%x), channel_id=2, dimensions={0}
}

ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %all_gather.4 = f32[8]{0} all-gather(%y), channel_id=2, dimensions={0}
  %w = (f32[8,4]) while(%t), condition=%c, body=%body.3, backend_config={"known_trip_count":{"n":"3"}}
}
"""


def test_operations_of_a_loop_count_as_often_as_it_runs():
    assert [operation.num_bytes for operation in collectives.operations(LOOP)] == [1_024] * 3 + [32]


NESTED = """
%inner (p: f32[8,4]) -> f32[8,4] {
  %hop = f32[8,4]{1,0} collective-permute(%x), channel_id=1, source_target_pairs={{0,1},{1,0}}
}

%outer (p: f32[8,4]) -> f32[8,4] {
  %w.1 = (f32[8,4]) while(%t), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"5"}}
}

%steps (p: f32[8,4]) -> f32[8,4] {
  %w.2 = (f32[8,4]) while(%t), condition=%c, body=%outer, backend_config={"known_trip_count":{"n":"2"}}
}

ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %w.3 = (f32[8,4]) while(%t), condition=%c, body=%steps
}
"""


def test_loops_in_loops_multiply_and_those_of_unknown_length_count_once():
    assert len(collectives.operations(NESTED)) == 10


def test_other_operations_by_name():
    (sort,) = collectives.operations(TEXT, ("sort",))
    assert sort.shapes == ((9,), (9,))
    assert collectives.operations("nothing") == []
