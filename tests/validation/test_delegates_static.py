"""The tables of what a GPU refuses and gets wrong, and the accelerator itself as their witness."""

from __future__ import annotations

import numpy as np
import pytest
from delegate_nets import grouped, need_gpu, on_gpu, point, top_k, twice, with_refused
from one_op import EXAMPLES, build
from one_op import run as run_op
from small_nets import residual

from tfq_ext.validation.delegates.inputs import open_inputs
from tfq_ext.validation.delegates.log import read_log
from tfq_ext.validation.delegates.static import KNOWN, REFUSED_OPS, known_faults

# (model, whether a GPU computes it rightly)
FORMS = {
    "grouped 8/4": (lambda: grouped(8, 4, 8), False),
    "grouped 6/3": (lambda: grouped(6, 3, 6), False),
    "grouped, 6 a group": (lambda: grouped(12, 2, 12), False),
    "grouped, 2 out a group": (lambda: grouped(8, 2, 4), False),
    "grouped, 4 a group": (lambda: grouped(8, 2, 8), True),
    "grouped, 8 a group": (lambda: grouped(16, 2, 16), True),
    "not grouped": (lambda: grouped(6, 1, 6), True),
    "int8 1x1, stride 2": (lambda: point(2), False),
    "int8 1x1": (lambda: point(1), True),
    "int8 3x3, stride 2": (lambda: point(2, size=3), True),
    "float 1x1, stride 2": (lambda: point(2, integer=False), True),
    "3 of 10": (lambda: top_k(10), False),
    "3 of 12": (lambda: top_k(12), True),
    "x x": (lambda: twice("BATCH_MATMUL", "BatchMatMulOptions"), False),
    "pack x x": (lambda: twice("PACK", "PackOptions"), False),
    "x * x": (lambda: twice("MUL", "MulOptions"), True),
    "x + x": (lambda: twice("ADD", "AddOptions"), True),
    "concat x x": (lambda: twice("CONCATENATION", "ConcatenationOptions"), True),
}


def known_wrong(model):
    return [f for f in known_faults(model.graphs[0]) if f.rule.id == "gpu-known-wrong"]


@pytest.mark.parametrize(("make", "right"), FORMS.values(), ids=FORMS)
def test_known_faults_are_seen_without_a_gpu(make, right):
    found = known_wrong(make())
    assert len(found) == (0 if right else 1)


@pytest.mark.parametrize(("make", "right"), FORMS.values(), ids=FORMS)
def test_the_accelerator_agrees_with_the_table(make, right):
    need_gpu()
    model = make()
    (inputs,), _ = open_inputs(model, None, preprocess=None, limit=1, seed=0, signature=None)
    ran = on_gpu(model, fp32=True, inputs=[inputs])
    want = run_op(model.to_bytes(), inputs)
    same = ran.complete and all(
        np.allclose(x, y, rtol=1e-4, atol=1e-5)
        for x, y in zip(ran.outputs[0].values(), want, strict=True)
    )
    assert same == right, ran.died or ran.outputs


def test_every_entry_is_tried_in_a_form():
    told = {f.message for make, _ in FORMS.values() for f in known_wrong(make())}
    assert len(told) == len(KNOWN)


def test_refused_ops_are_named_with_what_to_use():
    (finding,) = known_faults(with_refused().graphs[0])
    assert finding.rule.id == "gpu-known-refused"
    assert (finding.op, finding.op_index, finding.tensor) == ("L2_NORMALIZATION", 1, "n1")
    assert "rsqrt" in finding.message


def test_a_healthy_net_has_no_known_fault():
    assert list(known_faults(residual().graphs[0])) == []


def test_every_refused_op_has_an_example():
    assert set(REFUSED_OPS) <= set(EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("code", EXAMPLES)
def test_the_accelerator_refuses_what_the_table_says_and_no_more(code):
    need_gpu()
    ran = on_gpu(build(code, EXAMPLES[code]), fp32=True)
    log = read_log(ran.stderr)
    assert ran.complete, ran
    assert (log.on_gpu == 0) == (code in REFUSED_OPS)
