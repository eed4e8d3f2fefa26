"""Generators as TFLiteConverter takes them, tf.data, PyDataset and TFRecord, all real."""

import struct

import numpy as np
import pytest
from PIL import Image

from tfq_ext.errors import DataError, TfqWarning
from tfq_ext.samples import InputSpec, open_samples
from tfq_ext.samples.tfrecord import example, masked_crc, records

X = InputSpec("x", (1, 4), "float32")
FREE = InputSpec("x", (-1, 4), "float32")
B = InputSpec("b", (1, 2), "float32")


def rows(n=6, width=4):
    return np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)


def values(samples, name="x"):
    return np.concatenate([sample.inputs[name] for sample in samples])


@pytest.mark.parametrize(
    "item",
    [
        lambda r: [r[None]],
        lambda r: (r[None],),
        lambda r: {"x": r[None]},
        lambda r: (None, {"x": r[None]}),
        lambda r: ("serving_default", {"x": r[None]}),
        lambda r: r[None],
        lambda r: r,
        lambda r: r.tolist(),
    ],
)
def test_every_form_of_item(item):
    samples = open_samples(lambda: (item(r) for r in rows()), [X])
    np.testing.assert_array_equal(values(samples), rows())
    np.testing.assert_array_equal(values(samples), rows())


@pytest.mark.parametrize(
    "item", [lambda r: [r[None], r[None, :2]], lambda r: {"b": r[None, :2], "x": r[None]}]
)
def test_several_inputs(item):
    samples = open_samples(lambda: (item(r) for r in rows()), [X, B])
    np.testing.assert_array_equal(values(samples, "b"), rows()[:, :2])


def test_labels_after_the_inputs():
    samples = open_samples(lambda: ((r, i) for i, r in enumerate(rows())), [X])
    assert [s.label for s in samples] == list(range(6))
    samples = open_samples(lambda: (([r, r[:2]], i) for i, r in enumerate(rows())), [X, B])
    assert [s.label for s in samples] == list(range(6))


def test_signatures_choose_their_inputs():
    specs = [
        InputSpec("x", (1, 4), "float32", "encode"),
        InputSpec("z", (1, 2), "float32", "decode"),
    ]
    z = rows()[:1, :2]
    items = [("encode", {"x": rows()[:1]}), ("decode", {"z": z}), {"z": z}]
    got = list(open_samples(lambda: iter(items), specs))
    assert [(s.signature, *s.inputs) for s in got] == [
        ("encode", "x"),
        ("decode", "z"),
        ("decode", "z"),
    ]
    with pytest.raises(DataError, match="'encode', 'decode'"):
        list(open_samples(lambda: iter([("encod", {"x": rows()[:1]})]), specs))
    with pytest.raises(DataError, match="without a signature"):
        list(open_samples(lambda: iter([[rows()[:1]]]), specs))
    with pytest.raises(DataError, match="fit 0 of the model's signatures"):
        list(open_samples(lambda: iter([{"q": rows()[:1]}]), specs))


def test_batches_of_a_generator():
    def pairs():
        yield [rows()[:2]]
        yield [rows()[2:6]]

    assert [s.inputs["x"].shape for s in open_samples(pairs, [FREE])] == [(2, 4), (4, 4)]
    fixed = open_samples(pairs, [X])
    assert [s.key for s in fixed] == list(range(6))
    np.testing.assert_array_equal(values(fixed), rows())
    three = InputSpec("x", (3, 4), "float32")
    np.testing.assert_array_equal(values(open_samples(pairs, [three])), rows())
    four = InputSpec("x", (4, 4), "float32")
    with pytest.warns(TfqWarning, match=r"last 2 row\(s\)"):
        assert len(list(open_samples(pairs, [four]))) == 1


def test_a_buffer_that_the_user_refills():
    def refilled():
        buffer = np.empty((1, 4), np.float32)
        for row in rows():
            buffer[:] = row
            yield [buffer]

    two = InputSpec("x", (2, 4), "float32")
    np.testing.assert_array_equal(values(open_samples(refilled, [two])), rows())


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([[rows()[:1], rows()[:1]]], r"Item 0 .*2 array\(s\) came, the model has 1"),
        ([{"y": rows()[:1]}], "no array for input 'x'"),
        ([rows()[0, :3]], r"shape \(3,\) came, \(1, 4\) is expected"),
        ([rows()[0], None], "Item 1|Sample 1"),
        ([[[1.0, 2.0], [3.0]]], "came"),
        (["text"], "cannot be fed|is expected"),
    ],
)
def test_bad_items_are_named(items, words):
    with pytest.raises(DataError, match=words):
        list(open_samples(lambda: iter(items), [X]))


def test_the_users_own_exception_keeps_its_type():
    def broken():
        yield rows()[0]
        raise KeyError("the user's bug")

    with pytest.raises(KeyError) as caught:
        list(open_samples(broken, [X]))
    assert "while reading item 1 of function broken" in caught.value.__notes__[0]


def test_a_function_that_gives_no_samples():
    with pytest.raises(DataError, match="use yield"):
        list(open_samples(lambda: 3, [X]))


def test_list_of_samples_is_read_again_and_again():
    samples = open_samples([r for r in rows()], [X])  # noqa: C416
    assert not samples.one_shot
    np.testing.assert_array_equal(values(samples), values(samples))


def record(payload):
    head = struct.pack("<Q", len(payload))
    return b"".join(
        (head, struct.pack("<I", masked_crc(head)), payload, struct.pack("<I", masked_crc(payload)))
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:7], "truncated, 7 of 12"),
        (lambda b: b[:-1], "truncated"),
        (lambda b: b"x" + b[1:], "length's checksum"),
        (lambda b: b[:14] + b"x" + b[15:], "payload's checksum"),
    ],
)
def test_damaged_records_are_named(tmp_path, damage, words):
    path = tmp_path / "d.tfrecord"
    path.write_bytes(record(b"first") + damage(record(b"second")))
    found = records(path)
    assert next(found) == b"first"
    with pytest.raises(DataError, match=rf"record 1: .*{words}"):
        next(found)


@pytest.mark.parametrize("payload", [b"\x0a\xff", b"\xff" * 20, b"\x0a\x02\x08\x01", b"\x0b"])
def test_payloads_that_are_no_example(payload):
    with pytest.raises(DataError, match=r"no tf\.train\.Example"):
        example(payload, "record 0")


def test_crc32c_check_value():
    crc = (masked_crc(b"123456789") - 0xA282EAD8) & 0xFFFFFFFF
    assert ((crc << 15) | (crc >> 17)) & 0xFFFFFFFF == 0xE3069283  # RFC 3720, appendix B.4


@pytest.mark.tf
def test_tf_data():
    import tensorflow as tf

    function = tf.lite.RepresentativeDataset(lambda: ([r[None]] for r in rows()))
    np.testing.assert_array_equal(values(open_samples(function, [X])), rows())
    plain = tf.data.Dataset.from_tensor_slices((rows(), np.arange(6)))
    for data in (plain, plain.batch(4), plain.batch(1)):
        samples = open_samples(data, [FREE])
        np.testing.assert_array_equal(values(samples), rows())
        assert [s.label for s in samples] == list(range(6))
        assert samples.count == 6  # known after a pass
    three = InputSpec("x", (3, 4), "float32")
    got = list(open_samples(plain.batch(2), [three]))
    assert [s.inputs["x"].shape for s in got] == [(3, 4)] * 2
    np.testing.assert_array_equal(got[1].label, [3, 4, 5])
    named = tf.data.Dataset.from_tensor_slices({"x": rows(), "b": rows()[:, :2]})
    np.testing.assert_array_equal(values(open_samples(named, [X, B]), "b"), rows()[:, :2])
    keep, hold = open_samples(plain, [X]).split(0.3)
    assert sorted(s.key for part in (keep, hold) for s in part) == list(range(6))


@pytest.mark.tf
def test_py_dataset():
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            at = slice(index * 2, index * 2 + 2)
            return rows()[at], np.eye(6)[at]

    samples = open_samples(Batches(), [FREE])
    np.testing.assert_array_equal(values(samples), rows())
    np.testing.assert_array_equal([s.label for s in samples], np.eye(6))


def feature(value):
    import tensorflow as tf

    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if value.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=value.ravel()))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value.ravel()))


def write(path, examples, options=None):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), options) as out:
        for features in examples:
            named = {name: feature(value) for name, value in features.items()}
            message = tf.train.Example(features=tf.train.Features(feature=named))
            out.write(message.SerializeToString())


@pytest.mark.tf
@pytest.mark.parametrize("options", [None, "GZIP"])
def test_tfrecord_numbers(tmp_path, options):
    path = tmp_path / "part.tfrecord-00000-of-00001"
    ids = np.array([[1, -5, 2**31 - 1, -(2**31)]] * 6)
    ids[:, 0] = np.arange(6)
    write(
        path,
        [{"x": r, "ids": i, "label": np.array([n])} for n, (r, i) in enumerate(zip(rows(), ids))],  # noqa: B905
        options,
    )
    specs = [X, InputSpec("ids", (1, 4), "int32")]
    for data in (path, tmp_path, str(tmp_path / "part*")):
        samples = open_samples(data, specs)
        np.testing.assert_array_equal(values(samples), rows())
        np.testing.assert_array_equal(values(samples, "ids"), ids)
        assert [s.label for s in samples] == list(range(6))
    with pytest.raises(DataError, match="no feature for input 'other'"):
        list(open_samples(path, [InputSpec("other", (1, 4), "float32"), X]))
    with pytest.raises(DataError, match="4 values do not make one sample"):
        list(open_samples(path, [InputSpec("x", (1, 5), "float32"), specs[1]]))
    with pytest.raises(DataError, match="no label truth"):
        list(open_samples(path, specs, labels="truth"))


@pytest.mark.tf
def test_tfrecord_images_and_raw_bytes(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "i.png")
    encoded = (tmp_path / "i.png").read_bytes()
    spec = InputSpec("input_1", (1, 8, 8, 3), "float32")
    real = pixels.astype(np.float32) / 255
    for number, data in enumerate((encoded, pixels.tobytes(), real.tobytes())):
        path = tmp_path / f"{number}.tfrecord"
        write(path, [{"image/encoded": data, "image/class/label": np.array([3])}])
        pre = "scale=1/255" if number < 2 else None
        (sample,) = open_samples(path, [spec], preprocess=pre)
        np.testing.assert_allclose(sample.inputs["input_1"][0], real, atol=1e-7)
        assert sample.label == 3
