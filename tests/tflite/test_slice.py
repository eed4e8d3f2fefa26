"""One op on its own gives what it gives in the whole model."""

import numpy as np
import pytest
from float_files import SHAPE, add_op, blank

from tfq_ext.errors import ModelError
from tfq_ext.tflite.patch import add_tensor
from tfq_ext.tflite.run import Keeper
from tfq_ext.tflite.slice import Bench, can_cut, cut


@pytest.fixture
def chain():
    """y = (x + c) + z, z an input."""
    graph = blank()
    x, z = (add_tensor(graph, n, "float32", SHAPE) for n in ("x", "z"))
    c = add_tensor(graph, "c", "float32", SHAPE, values=np.full(SHAPE, 2.0, np.float32))
    t, y = (add_tensor(graph, n, "float32", SHAPE) for n in ("t", "y"))
    add_op(graph, "ADD", [x, c], [t])
    add_op(graph, "ADD", [t, z], [y])
    graph.tree.inputs, graph.tree.outputs = [x, z], [y]
    return graph


def test_a_bench_feeds_activations_and_keeps_constants(chain):
    bench = Bench(chain, 0)
    assert bench.feeds == [chain.by_name["x"]]
    bench.set({bench.feeds[0]: np.ones(SHAPE, np.float32)})
    assert np.array_equal(bench.run(), np.full(SHAPE, 3.0))


def test_cutting_all_ops_gives_the_model_back(chain):
    x, z = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    whole = Keeper(chain.model).invoke({"x": x, "z": z})(chain.by_name["y"]).copy()
    part = cut(chain, [0, 1])
    assert [part.graphs[0].name(i) for i in part.graphs[0].inputs] == ["x", "z"]
    again = Keeper(part).invoke({"x": x, "z": z})(part.graphs[0].by_name["y"])
    assert np.array_equal(whole, again)


def test_a_cut_leaves_the_original_alone(chain):
    before = chain.model.to_bytes()
    cut(chain, [1])
    assert chain.model.to_bytes() == before


def test_shapes_may_change(chain):
    bench = Bench(chain, 1)
    wide = np.ones((5, 3), np.float32)
    bench.set(dict.fromkeys(bench.feeds, wide))
    assert bench.run().shape == (5, 3)


def test_ops_that_need_the_model_are_refused():
    graph = blank()
    v = add_tensor(graph, "v", "resource", ())
    add_op(graph, "VAR_HANDLE", [], [v])
    assert not can_cut(graph, 0)
    with pytest.raises(ModelError, match="VAR_HANDLE"):
        Bench(graph, 0)


def test_the_keeper_keeps_intermediate_tensors(chain):
    read = Keeper(chain.model).invoke({n: np.ones(SHAPE, np.float32) for n in ("x", "z")})
    assert np.array_equal(read(chain.by_name["t"]), np.full(SHAPE, 3.0))
