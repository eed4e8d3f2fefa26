"""What may travel between processes: equal on the other side, or refused; streams of it."""

import json
import math
import os
import socket
import struct
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from tfq_ext.errors import DataError, TfqError
from tfq_ext.numerics.metrics import SqnrAccumulator
from tfq_ext.samples.tfrecord import masked_crc
from tfq_ext.spec import INT8_ACTIVATION, INT8_WEIGHT, QParams, Range
from tfq_ext.tflite.runner import Port
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.sandbox import Child, Limits, ModelDied
from tfq_ext.validation.sandbox.channel import Closed, receive, send
from tfq_ext.validation.sandbox.wire import WireError, decode, encode, named

RECORDS = "tfq_ext.samples.tfrecord:records"


def there_and_back(value):
    """Through a real socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10)
        sender = threading.Thread(target=send, args=(ours, "value", value))
        sender.start()
        kind, got = receive(theirs)
        sender.join(10)
    assert kind == "value"
    return got


PLAIN = [
    None,
    True,
    0,
    -(2**70),
    0.1,
    -0.0,
    math.inf,
    "",
    "é\u0000\ud800<b>",
    b"",
    bytes(range(256)),
    [],
    [1, [2, (3,)]],
    (),
    (1, "two", (None,)),
    {},
    {1: "a", "1": "b", (2, 3): {"x": [1.5]}},
    {"array": 1, "tuple": 2},  # names of codecs are names like others
    {1, 2},
    frozenset({"a"}),
    Fraction(-1, 3),
    Path("/a/b"),
    np.dtype("float16"),
    INT8_ACTIVATION,
    Range(-1.0, 2.5),
    Rule("a-rule", "error", "what", "why", "do", "source"),
    Finding(Rule("a-rule", "error", "w", "y", "d", "s"), "message", op_index=3),
    Port("x", 0, (-1, 3), np.dtype("int8"), 0.5, -3),
    SqnrAccumulator(),
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda v: repr(v)[:40])
def test_plain_values_come_back_equal(value):
    got = there_and_back(value)
    assert got == value
    assert type(got) is type(value)
    assert repr(got) == repr(value)


ARRAYS = [
    np.array(3.5, np.float32),
    np.zeros((0, 4), np.int8),
    np.arange(12, dtype=">i4").reshape(3, 4),
    np.arange(24.0).reshape(2, 3, 4)[:, ::2, ::-1],
    np.asfortranarray(np.arange(6, dtype=np.uint16).reshape(2, 3)),
    np.array([True, False]),
    np.array([1 + 2j], np.complex64),
    np.float16([np.inf, np.nan, -0.0]),
    np.array(["a", "bc"]),
    np.array([b"\x00text", b""], object),
    np.random.default_rng(0).normal(size=(300, 1000)),
]


@pytest.mark.parametrize("x", ARRAYS, ids=lambda x: f"{x.dtype} {x.shape}")
def test_arrays_come_back_with_every_bit(x):
    got = there_and_back(x)
    assert got.dtype == x.dtype
    assert got.shape == x.shape
    if x.dtype != object:
        assert got.tobytes() == x.tobytes()
    else:
        assert got.tolist() == x.tolist()
    assert got.flags.writeable


@pytest.mark.parametrize("x", [np.float32(0.1), np.int64(-7), np.bool_(True), np.str_("é")])
def test_numpy_scalars_keep_their_type(x):
    got = there_and_back(x)
    assert got == x
    assert type(got) is type(x)


def test_nan_is_nan():
    assert math.isnan(there_and_back(math.nan))


def test_a_dataclass_with_arrays():
    params = QParams(INT8_WEIGHT.on(0), np.float32([0.5, 0.25]))
    got = there_and_back(params)
    assert got.spec == params.spec
    np.testing.assert_array_equal(got.scale, params.scale)


def test_many_arrays_of_all_sizes_in_one_message():
    rng = np.random.default_rng(1)
    values = {f"t{k}": rng.bytes(int(n)) for k, n in enumerate(rng.integers(0, 200_000, 40))}
    assert there_and_back(values) == values


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Counter("aa"), {"a": 2}),
        (bytearray(b"xy"), b"xy"),
        (memoryview(b"xy"), b"xy"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_relatives_arrive_as_the_plain_kind(value, plain):
    got = there_and_back(value)
    assert got == plain
    assert type(got) is type(plain)


@dataclass(frozen=True)
class Stranger:
    x: int = 0


@pytest.mark.parametrize(
    "value",
    [
        object(),
        lambda: 0,
        Stranger(),
        np.zeros(2, "i4,f4"),
        [1, {2: object()}],
        DataError("x"),
        int,
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_may_not_travel_is_refused_before_a_byte_is_sent(value):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(WireError, match="cannot go"):
            send(ours, "value", value)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


@pytest.mark.parametrize(
    "path",
    ["os:system", "tfq_ext.spec:np", "tfq_ext:x", "tfq_ext.spec", "subprocess:run", "tfq_ext.a:b"],
)
def test_names_outside_of_the_package_mean_nothing(path):
    with pytest.raises(WireError):
        named(path)


@pytest.mark.parametrize(
    "tree",
    [
        {"data": ["os:system", {}]},
        {"data": ["tfq_ext.validation.sandbox.parent:Child", {}]},
        {"data": ["tfq_ext.spec:Range", {"lo": 2.0, "hi": 1.0}]},
        {"data": ["tfq_ext.spec:Range", {"nonsense": 1}]},
        {"enum": ["tfq_ext.spec:Range", "x"]},
        {"named": ["tfq_ext.spec:Range", []]},
        {"array": [0, "<f4", [1]]},
        {"array": [5, "|u1", [2]]},
        {"bytes": "0"},
        {"unknown": 1},
        {"tuple": [], "dict": []},
        {},
        {"fraction": [1, 0]},
    ],
    ids=str,
)
def test_nonsense_from_a_damaged_child_is_an_error(tree):
    with pytest.raises(WireError):
        decode(json.dumps(tree).encode(), [np.zeros(2, np.uint8)])


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<4sII", b"TFQ1", 0, 2**31),
        struct.pack("<4sIIQ", b"TFQ1", 0, 1, 2**60),
        struct.pack("<4sII", b"TFQ1", 4, 0) + b"null",
        struct.pack("<4sII", b"TFQ1", 6, 0) + b"[1, 2]",
        struct.pack("<4sII", b"TFQ1", 4, 0) + b"\xff\xfe{}",
    ],
)
def test_bytes_that_are_no_message(sent):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(sent)
        theirs.settimeout(10)
        with pytest.raises(WireError):
            receive(theirs)


def test_an_end_amid_a_message_is_an_end():
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(struct.pack("<4sII", b"TFQ1", 100, 0) + b"[")
        ours.close()
        with pytest.raises(Closed):
            receive(theirs)


def test_encoding_makes_no_copies_of_arrays():
    x = np.zeros(1000, np.float32)
    _, blobs = encode([x, x[:10]])
    assert all(np.shares_memory(np.frombuffer(b, np.uint8), x) for b in blobs)


def record(payload: bytes) -> bytes:
    head = struct.pack("<Q", len(payload))
    crc = [struct.pack("<I", masked_crc(part)) for part in (head, payload)]
    return head + crc[0] + payload + crc[1]


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "r.tfrecord"
    path.write_bytes(b"".join(record(b"%d" % k) for k in range(2000)))
    return path


@pytest.fixture
def child():
    with Child(Limits(2**30, seconds=30)) as child:  # a machine with much else to do is slow
        yield child


def test_a_stream_in_order_and_the_child_after_it(child, records):
    assert list(child.stream(RECORDS, records)) == [b"%d" % k for k in range(2000)]
    assert child.call("tfq_ext.spec:round_half_away", 0.5) == 1


def test_a_stream_that_is_left_early_stops(child, records):
    stream = child.stream(RECORDS, records)
    assert [next(stream), next(stream)] == [b"0", b"1"]
    with pytest.raises(RuntimeError, match="in the middle of a stream"):
        child.call("tfq_ext.spec:round_half_away", 0.5)
    stream.close()
    assert child.call("tfq_ext.spec:round_half_away", 0.5) == 1
    assert next(child.stream(RECORDS, records)) == b"0"


def test_an_error_amid_a_stream(child, records):
    records.write_bytes(records.read_bytes()[:-3])
    got = []
    with pytest.raises(TfqError, match="truncated"):
        got.extend(child.stream(RECORDS, records))
    assert child.call("tfq_ext.spec:round_half_away", 0.5) == 1


def test_a_stream_without_an_answer(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with (
        Child(Limits(2**30, seconds=1.5)) as child,
        pytest.raises(ModelDied, match=r"no answer in 1\.5 s"),
    ):
        list(child.stream(RECORDS, pipe))


def test_closing_a_child_amid_a_stream(child, records):
    stream = child.stream(RECORDS, records)
    next(stream)
    child.close()
    stream.close()
    with pytest.raises(ModelDied):
        list(child.stream(RECORDS, records))
