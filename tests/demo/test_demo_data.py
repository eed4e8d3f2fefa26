"""The bundled images and network: small, plain, balanced, and as good as their card says."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tfq_ext import demo
from tfq_ext.errors import UnknownName

KB, MB = 1_000, 1_000_000
COUNTS = {"calibration": 256, "evaluation": 3000}


@pytest.fixture(scope="module")
def card():
    return json.loads(demo.card_path().read_text())


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        (demo.model_path(), MB),
        (demo.images_path(), 2 * MB),
        (demo.card_path(), KB),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_bundled_files_are_small(path, limit):
    assert 0 < path.stat().st_size < limit


@pytest.mark.parametrize("split", COUNTS)
def test_images_have_the_documented_shape_and_type(split):
    pixels, labels = demo.images(split)
    assert pixels.shape == (COUNTS[split], 28, 28, 1)
    assert labels.shape == (COUNTS[split],)
    assert pixels.dtype == labels.dtype == np.uint8
    assert pixels.min() == 0
    assert pixels.max() == 255


@pytest.mark.parametrize("split", COUNTS)
def test_every_class_has_its_share(split):
    # A random tenth, give or take four binomial standard deviations.
    count = COUNTS[split]
    slack = 4 * np.sqrt(count * 0.1 * 0.9)
    shares = np.bincount(demo.images(split)[1], minlength=len(demo.CLASS_NAMES))
    assert len(shares) == len(demo.CLASS_NAMES)
    assert np.all(np.abs(shares - count / 10) < slack), shares


def test_no_image_is_blank_and_no_image_comes_twice():
    pixels = np.concatenate([demo.images(split)[0] for split in COUNTS])
    assert np.all(pixels.reshape(len(pixels), -1).std(axis=1) > 0)
    assert len({image.tobytes() for image in pixels}) == sum(COUNTS.values())


def test_the_archive_holds_plain_arrays_only():
    with zipfile.ZipFile(demo.images_path()) as archive:
        assert sorted(archive.namelist()) == [
            "calibration_labels.npy",
            "calibration_pixels.npy",
            "test_labels.npy",
            "test_pixels.npy",
        ]
    with np.load(demo.images_path(), allow_pickle=False) as archive:
        assert {archive[name].dtype for name in archive.files} == {np.dtype(np.uint8)}


def test_preprocess_maps_every_pixel_onto_its_own_code():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x = demo.preprocess(pixels)
    assert x.dtype == np.float32
    assert (x.min(), x[0, 8, 0, 0], x.max()) == (-1.0, 0.0, 127 / 128)
    np.testing.assert_array_equal(x * 128 + 128, pixels)  # zero error, not half a code


def test_calibration_and_evaluation_are_the_images_preprocessed():
    x, labels = demo.evaluation()
    pixels, expected = demo.images("evaluation")
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(x, pixels / 128.0 - 1.0)
    pixels, _ = demo.images("calibration")
    np.testing.assert_array_equal(demo.calibration(), pixels / 128.0 - 1.0)


def test_every_call_gives_its_own_copy_of_the_same_images():
    first, _ = demo.images("calibration")
    first[:] = 0
    second, _ = demo.images("calibration")
    assert second.max() == 255


def test_an_unknown_split_names_the_known_ones():
    with pytest.raises(UnknownName, match="calibration, evaluation"):
        demo.images("test")


def test_the_images_load_without_tensorflow():
    code = (
        "import sys; from tfq_ext import demo; demo.evaluation(); demo.calibration();"
        "print(sorted({'tensorflow', 'keras', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_licence_of_the_images_lies_beside_them():
    text = demo.model_path().with_name("fashion_mnist.LICENSE.txt").read_text(encoding="utf-8")
    assert "Zalando SE" in text
    assert "Permission is hereby granted" in text


def test_the_card_describes_the_bundled_files(card):
    assert card["bundled_images"] == COUNTS["evaluation"]
    assert card["parameters"] < 200_000
    assert card["float_top1_test"] >= 0.915


@pytest.mark.tf
def test_the_network_reproduces_its_card(card):
    keras = pytest.importorskip("keras")
    model = keras.models.load_model(demo.model_path())
    assert model.count_params() == card["parameters"]
    assert not model.compiled  # saved bare: no optimizer, no loss
    x, labels = demo.evaluation()
    logits = model.predict(x, batch_size=500, verbose=0)
    top1 = np.mean(np.argmax(logits, axis=1) == labels)
    assert top1 == pytest.approx(card["float_top1_bundled"], abs=0.005)


@pytest.mark.tf
def test_the_network_shows_what_the_demo_is_about():
    # Residual ADDs (the converter widens the range of their inputs), ReLU6 and depthwise stages.
    keras = pytest.importorskip("keras")
    kinds = [
        layer.__class__.__name__ for layer in keras.models.load_model(demo.model_path()).layers
    ]
    assert kinds.count("Add") >= 2
    assert kinds.count("DepthwiseConv2D") >= 4
    assert kinds.count("BatchNormalization") > kinds.count("DepthwiseConv2D")
