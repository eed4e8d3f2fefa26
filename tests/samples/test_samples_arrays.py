"""Arrays, dicts, tuples, .npy and .npz: what comes out, and what is refused."""

import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest

from tfq_ext.errors import DataError, TfqWarning
from tfq_ext.samples import InputSpec, open_samples

IMAGE = InputSpec("image", (1, 4, 4, 3), "float32")
TABLE = InputSpec("table", (-1, 5), "float32")
TOKENS = InputSpec("tokens", (1, 5), "int32")


def images(n=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 4, 4, 3)).astype(np.float32)


def rows(n=6, width=5):
    return np.arange(n * width, dtype=np.float32).reshape(n, width)


def test_rows_of_an_array_are_samples_with_a_batch_axis():
    x = images()
    samples = open_samples(x, [IMAGE])
    assert samples.count == len(samples) == 6
    got = list(samples)
    assert [s.key for s in got] == list(range(6))
    assert all(s.inputs["image"].shape == (1, 4, 4, 3) for s in got)
    np.testing.assert_array_equal(np.concatenate([s.inputs["image"] for s in got]), x)
    assert len(list(samples)) == 6  # again


def test_exactly_one_sample_without_batch_axis_is_accepted():
    x = images(1)[0]
    (sample,) = open_samples(x, [IMAGE])
    np.testing.assert_array_equal(sample.inputs["image"], x[None])


@pytest.mark.parametrize("wrap", [dict, tuple, list])
def test_several_inputs_by_name_or_in_order(wrap):
    x, y = images(), rows()
    data = {"table": y, "image": x} if wrap is dict else wrap([x, y])
    got = list(open_samples(data, [IMAGE, TABLE]))
    np.testing.assert_array_equal(got[2].inputs["image"], x[2:3])
    np.testing.assert_array_equal(got[2].inputs["table"], y[2:3])


def test_names_of_tensors_and_of_signatures_are_one():
    spec = InputSpec("serving_default_table:0", (1, 5), "float32")
    assert len(open_samples({"table": rows()}, [spec])) == 6


def test_tuple_for_one_input_is_x_and_labels():
    samples = open_samples((rows(), np.arange(6) * 10), [TABLE])
    assert samples.labels == [0, 10, 20, 30, 40, 50]
    assert [s.label for s in samples] == samples.labels


def test_fixed_batch_makes_chunks_and_says_what_is_left_out():
    spec = InputSpec("t", (4, 5), "float32")
    with pytest.warns(TfqWarning, match=r"last 2 row\(s\).*batch of 4"):
        samples = open_samples((rows(10), np.arange(10)), [spec])
    got = list(samples)
    assert [s.inputs["t"].shape for s in got] == [(4, 5), (4, 5)]
    np.testing.assert_array_equal(got[1].label, [4, 5, 6, 7])
    with pytest.raises(DataError, match="at least 4 rows"):
        open_samples(rows(3), [spec])


def test_scalar_inputs_have_no_batch_axis():
    specs = [TABLE, InputSpec("alpha", (), "float32")]
    got = list(open_samples({"table": rows(3), "alpha": np.float32(0.5)}, specs))
    assert [float(s.inputs["alpha"]) for s in got] == [0.5] * 3
    got = list(open_samples({"table": rows(3), "alpha": np.float32([1, 2, 3])}, specs))
    assert [s.inputs["alpha"].shape for s in got] == [()] * 3
    assert [float(s.inputs["alpha"]) for s in got] == [1, 2, 3]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((6, 4, 4)), "channel axis is missing"),
        (np.zeros((6, 3, 4, 4)), "channels first"),
        (np.zeros((6, 8, 8, 3)), "image size differs"),
        (np.zeros((6, 7)), "first axis counts samples"),
        (np.zeros((0, 4, 4, 3)), "no samples"),
    ],
)
def test_shapes_that_do_not_fit_are_explained(x, words):
    spec = InputSpec("g", (1, 4, 4, 1), "float32") if x.ndim == 3 else IMAGE
    with pytest.raises(DataError, match=words):
        list(open_samples(x, [spec]))


def test_lengths_must_agree():
    with pytest.raises(DataError, match="image 6, table 4"):
        open_samples((images(6), rows(4)), [IMAGE, TABLE])


def test_missing_and_unknown_names():
    with pytest.raises(DataError, match="no array for input 'table'"):
        open_samples({"image": images(), "tabel": rows()}, [IMAGE, TABLE])
    with pytest.raises(DataError, match="extra: no such input"):
        open_samples({"image": images(), "extra": rows()}, [IMAGE])


def test_npy_is_mapped_and_memory_stays_constant(tmp_path):
    path = tmp_path / "big.npy"
    big = np.lib.format.open_memmap(path, "w+", np.float32, (4096, 4096))  # 64 MiB
    big[:, :2] = np.arange(4096)[:, None] + [0.0, 0.5]
    big.flush()
    del big
    spec = InputSpec("x", (1, 4096), "float32")
    tracemalloc.start()
    samples = open_samples(path, [spec], limit=1000, shuffle=True)
    keep, hold = samples.split(0.2)
    seen = sum(1 for _ in keep) + sum(1 for _ in hold)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 1000
    assert peak < 2 << 20


def test_opening_samples_imports_nothing_heavy():
    code = (
        "import sys, numpy as np; from tfq_ext.samples import InputSpec, open_samples; "
        "list(open_samples(np.eye(5), [InputSpec('x', (1, 5), 'float32')])); "
        "print({'tensorflow', 'keras', 'PIL', 'numba', 'rich', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_npz_by_name_by_order_and_labels_only_when_asked(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, image=images(), table=rows(), y=np.arange(6))
    samples = open_samples(path, [IMAGE, TABLE])
    assert samples.labels is None
    assert next(iter(samples)).inputs.keys() == {"image", "table"}
    assert open_samples(path, [IMAGE, TABLE], labels=True).labels == list(range(6))
    assert open_samples(path, [IMAGE, TABLE], labels="y").labels == list(range(6))
    with pytest.raises(DataError, match="no labels named 'z'"):
        open_samples(path, [IMAGE, TABLE], labels="z")
    np.savez(path, arr_0=rows(), labels=np.arange(6))
    assert open_samples(path, [TABLE], labels=True).labels == list(range(6))
    np.savez(path, a=rows(), b=rows())
    with pytest.raises(DataError, match="a, b"):
        open_samples(path, [TABLE])


class Bomb:
    def __reduce__(self):
        return (warnings.warn, ("the pickle was executed",))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_objects_are_never_loaded(tmp_path, suffix):
    path = tmp_path / f"hostile{suffix}"
    payload = np.array([Bomb()], object)
    np.save(path, payload) if suffix == ".npy" else np.savez(path, table=payload)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="pickled Python objects"):
            open_samples(path, [TABLE])


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_damaged_files_are_named(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    np.save(path, rows()) if suffix == ".npy" else np.savez(path, table=rows())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=f"cut{suffix}"):
        open_samples(path, [TABLE])


def test_labels_given_apart(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("3\n1\n2\n")
    assert open_samples(rows(3), [TABLE], labels=file).labels == [3, 1, 2]
    samples = open_samples(rows(3), [TABLE], labels=["a", "b", "c"])
    assert [s.label for s in samples.limit(2)] == ["a", "b"]
    with pytest.raises(DataError, match="2 labels came for 3 rows"):
        open_samples(rows(3), [TABLE], labels=[1, 2])


def test_a_missing_file_is_said_to_be_missing():
    with pytest.raises(DataError, match=r"no file or folder no/such/file\.npy"):
        open_samples("no/such/file.npy", [TABLE])


@pytest.mark.parametrize("data", [3.5, None])
def test_unknown_data_lists_what_is_known(data):
    with pytest.raises(DataError, match=r"Known: tf\.data\.Dataset"):
        open_samples(data, [TABLE])


def test_tokens_keep_integers():
    got = next(iter(open_samples(np.arange(10, dtype=np.int64).reshape(2, 5), [TOKENS])))
    assert got.inputs["tokens"].dtype == np.int32
