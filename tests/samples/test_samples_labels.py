"""Labels in files: rows, names, words, headers, and what does not fit."""

import numpy as np
import pytest
from PIL import Image

from tfq_ext.errors import DataError
from tfq_ext.samples import InputSpec, Preprocess, labels_beside, open_samples
from tfq_ext.samples.labels import read_labels

TABLE = InputSpec("table", (1, 3), "float32")
COLOUR = InputSpec("image", (1, 4, 4, 3), "float32")
RAW = Preprocess()


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "3\n1\n2\n", [3, 1, 2]),
        ("b.txt", "3 1 2", [3, 1, 2]),
        ("c.csv", "3\n1\n2\n", [3, 1, 2]),
        ("d.csv", "label\n3\n1\n2\n", [3, 1, 2]),
        ("e.csv", "0.5\n-1e3\n", [0.5, -1000.0]),
        ("f.csv", "cat\ndog\n", ["cat", "dog"]),
        ("g.csv", "\ufefffile,class\nx.png,cat\ny.png,dog\n", {"x.png": "cat", "y.png": "dog"}),
        ("h.csv", "x.png, 4\ny.png, 2\n\n", {"x.png": 4, "y.png": 2}),
        ("i.txt", "x.jpeg 65\ny.jpeg 7\n", {"x.jpeg": 65, "y.jpeg": 7}),
    ],
)
def test_label_files(tmp_path, name, text, expected):
    assert read_labels(written(tmp_path, name, text)) == expected


def test_vectors(tmp_path):
    rows = read_labels(written(tmp_path, "v.csv", "a.png,1,2.5\nb.png,3,4\n"))
    assert {key: value.tolist() for key, value in rows.items()} == {
        "a.png": [1.0, 2.5],
        "b.png": [3.0, 4.0],
    }
    plain = read_labels(written(tmp_path, "w.csv", "1,2\n3,4\n"))
    assert np.array(plain).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no label"), ("a.png,1\na.png,2\n", "comes twice"), ("a.png,1\nb.png\n", "columns")],
)
def test_unusable_label_files(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_labels(written(tmp_path, "l.csv", text))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    for k, name in enumerate(("b.png", "a.png", "sub/c.png")):
        pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) + k
        Image.fromarray(pixels).save(root / name)
    return root


def test_labels_by_file_name(tmp_path, folder):
    file = written(tmp_path, "l.csv", "sub/c.png,3\nb,2\na.png,1\n")  # path, stem, name
    samples = open_samples(folder, [COLOUR], preprocess=RAW, labels=file)
    assert samples.labels == [1, 2, 3]
    mapping = {"a": 1, "b": 2, "c": 3}
    assert open_samples(folder, [COLOUR], preprocess=RAW, labels=mapping).labels == [1, 2, 3]


def test_words_become_classes(tmp_path, folder):
    file = written(tmp_path, "l.csv", "a,dog\nb,cat\nc,dog\n")
    samples = open_samples(folder, [COLOUR], preprocess=RAW, labels=file)
    assert (samples.labels, samples.classes) == ([1, 0, 1], ("cat", "dog"))


def test_names_that_are_missing(tmp_path, folder):
    with pytest.raises(DataError, match=r"no label for sub/c\.png among 2"):
        open_samples(folder, [COLOUR], preprocess=RAW, labels={"a": 1, "b": 2})
    with pytest.raises(DataError, match="need a folder of images"):
        open_samples(np.zeros((2, 3), np.float32), [TABLE], labels={"a": 1, "b": 2})


def test_labels_beside(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros(2), y_test=np.zeros(2))
    assert labels_beside(path) is True
    np.savez(path, x=np.zeros(2))
    assert labels_beside(str(path)) is None
    assert labels_beside(np.zeros(2)) is None
    assert labels_beside(written(tmp_path, "bad.npz", "nothing")) is None
    assert labels_beside(tmp_path / "absent.npz") is None


def test_permuted_is_a_permutation():
    x = np.arange(60, dtype=np.float32).reshape(20, 3)
    samples = open_samples((x, np.arange(20)), [TABLE])
    drawn = samples.permuted(1)
    keys = [sample.key for sample in drawn]
    assert sorted(keys) == list(range(20)) != keys
    assert [sample.label for sample in drawn] == keys
    assert all(s.inputs["table"][0, 0] == 3 * s.key for s in drawn)
    assert [s.key for s in samples.permuted(1)] == keys
    assert sorted(s.key for s in samples.limit(5).permuted(2)) == list(range(5))
    stream = open_samples(lambda: iter([x[:1]]), [TABLE])
    assert stream.permuted(0) is stream


def test_reading_ahead_changes_nothing(folder):
    samples = open_samples(folder, [COLOUR], preprocess=RAW)
    ahead = samples.ahead(3)
    assert [s.key for s in ahead] == [s.key for s in samples] == [0, 1, 2]
    assert [s.key for s in ahead.limit(2)] == [0, 1]
    assert next(iter(ahead)).key == 0  # left in the middle
    (folder / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png"):
        list(samples.ahead(2))
    arrays = open_samples(np.zeros((2, 3), np.float32), [TABLE])
    assert arrays.ahead(4) is arrays
