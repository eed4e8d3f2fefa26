"""Image folders and files: order, labels, modes, orientation, sizes, values, bad files."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tfq_ext.errors import DataError, TfqWarning
from tfq_ext.samples import InputSpec, Preprocess, open_samples

COLOUR = InputSpec("image", (1, 8, 6, 3), "float32")
GREY = InputSpec("image", (1, 8, 6, 1), "float32")
RAW = Preprocess()


def picture(seed=0, size=(8, 6, 3)):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


@pytest.fixture
def classes(tmp_path):
    for folder, seed in (("b/deep/y.png", 0), ("b/x.png", 1), ("a/z.png", 2)):
        save(tmp_path / folder, picture(seed))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    save(tmp_path / ".hidden" / "h.png", picture(9))
    return tmp_path


def test_order_and_labels_of_class_folders(classes):
    samples = open_samples(classes, [COLOUR], preprocess=RAW)
    assert samples.classes == ("a", "b")
    assert samples.labels == [0, 1, 1]
    got = list(samples)
    assert [s.label for s in got] == [0, 1, 1]
    for sample, seed in zip(got, (2, 0, 1), strict=True):
        np.testing.assert_array_equal(sample.inputs["image"][0], picture(seed))


def test_no_labels_without_class_folders(tmp_path):
    save(tmp_path / "images" / "a.png", picture())
    assert open_samples(tmp_path, [COLOUR], preprocess=RAW).labels is None
    save(tmp_path / "b.png", picture(1))
    assert open_samples(tmp_path, [COLOUR], preprocess=RAW).labels is None


def test_first_images_of_one_class_only_are_a_warning(classes):
    with pytest.warns(TfqWarning, match="1 of 2 classes"):
        open_samples(classes, [COLOUR], preprocess=RAW, limit=1)
    assert open_samples(classes, [COLOUR], preprocess=RAW, limit=1, shuffle=True).count == 1


def test_without_preprocess_pixels_stay_and_a_warning_says_so(classes):
    with pytest.warns(TfqWarning, match=r"pixels 0\.\.255"):
        samples = open_samples(classes, [COLOUR])
    assert next(iter(samples)).inputs["image"].max() > 200
    bytes_in = InputSpec("image", (1, 8, 6, 3), "uint8")
    assert next(iter(open_samples(classes, [bytes_in]))).inputs["image"].dtype == np.uint8


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "JPG", "jpeg"])
def test_every_format_opens_as_a_single_file(tmp_path, suffix):
    flat = np.full((8, 6, 3), 128, np.uint8)
    flat[:4] = 40
    save(tmp_path / f"i.{suffix}", flat)
    (sample,) = open_samples(str(tmp_path / f"i.{suffix}"), [COLOUR], preprocess=RAW)
    assert np.abs(sample.inputs["image"][0] - flat).mean() < 6  # webp and JPEG are lossy


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_channel_counts_are_made_to_fit(tmp_path, mode):
    path = tmp_path / f"i.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.fromarray(picture()).convert(mode).save(path)
    for spec in (COLOUR, GREY):
        (sample,) = open_samples(path, [spec], preprocess=RAW)
        assert sample.inputs["image"].shape == spec.shape


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    wide = np.linspace(0, 65535, 48).astype(np.uint16).reshape(8, 6)
    Image.fromarray(wide).save(tmp_path / "i.png")
    (sample,) = open_samples(tmp_path / "i.png", [GREY], preprocess=RAW)
    np.testing.assert_array_equal(sample.inputs["image"][0, ..., 0], wide // 257)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    save(tmp_path / "i.png", picture(0, (6, 8, 3)), exif=exif)
    (sample,) = open_samples(tmp_path / "i.png", [COLOUR], preprocess=RAW)
    upright = np.rot90(picture(0, (6, 8, 3)), -1)
    np.testing.assert_array_equal(sample.inputs["image"][0], upright)


def test_truncated_image_is_named(tmp_path):
    save(tmp_path / "a.jpg", picture(0, (64, 64, 3)))
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    samples = iter(open_samples(tmp_path, [COLOUR], preprocess=RAW))
    next(samples)
    with pytest.raises(DataError, match=r"b\.jpg.*Remove or repair"):
        next(samples)


def test_linked_folders_are_followed_once(classes, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "one").symlink_to(classes / "a")
    (root / "two").symlink_to(classes / "b")
    (classes / "b" / "back").symlink_to(root)
    assert open_samples(root, [COLOUR], preprocess=RAW).labels == [0, 1, 1]


def test_no_image_in_the_folder(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        open_samples(tmp_path, [COLOUR])


def test_two_inputs_cannot_be_fed_by_images(classes):
    with pytest.raises(DataError, match="one input"):
        open_samples(classes, [COLOUR, InputSpec("t", (1, 3), "float32")])


def test_resize_keeps_aspect_and_crop_takes_the_centre(tmp_path):
    array = np.zeros((20, 40, 3), np.uint8)
    array[:, 16:24] = 200  # the middle fifth
    save(tmp_path / "i.png", array)
    spec = InputSpec("image", (1, 10, 4, 3), "float32")
    pre = Preprocess(resize=10, crop=(10, 4), scale=1 / 200)
    (sample,) = open_samples(tmp_path / "i.png", [spec], preprocess=pre)
    assert sample.inputs["image"].shape == (1, 10, 4, 3)
    np.testing.assert_allclose(sample.inputs["image"][0, :, 1:3], 1.0, atol=1e-6)
    with pytest.raises(DataError, match="does not fit"):
        list(open_samples(tmp_path / "i.png", [spec], preprocess="crop=30"))
    with pytest.raises(DataError, match="resize or crop"):
        list(open_samples(tmp_path / "i.png", [spec], preprocess="resize=10"))


def test_channels_first_models(tmp_path):
    save(tmp_path / "i.png", picture())
    spec = InputSpec("image", (1, 3, 8, 6), "float32")
    pre = Preprocess(mean=(1.0, 2.0, 3.0))
    (sample,) = open_samples(tmp_path / "i.png", [spec], preprocess=pre)
    expected = np.moveaxis(picture().astype(np.float32) - [1, 2, 3], -1, 0)
    np.testing.assert_array_equal(sample.inputs["image"][0], expected)


def test_fixed_batches_of_images(classes):
    spec = InputSpec("image", (2, 8, 6, 3), "float32")
    with pytest.warns(TfqWarning, match=r"last 1 .*batch of 2"):
        samples = open_samples(classes, [spec], preprocess=RAW)
    (sample,) = samples
    assert sample.inputs["image"].shape == (2, 8, 6, 3)
    np.testing.assert_array_equal(sample.label, [0, 1])


def test_parse_and_text_are_inverse():
    text = "resize=256,crop=224x192,scale=1/255,mean=.485:.456:.406,std=.229:.224:.225,mode=rgb"
    pre = Preprocess.parse(text)
    assert pre.resize == 256
    assert pre.crop == (224, 192)
    assert pre.scale == 1 / 255
    assert pre.mean == (0.485, 0.456, 0.406)
    assert pre.mode == "RGB"
    assert Preprocess.parse(str(pre)) == pre
    assert str(RAW) == ""


@pytest.mark.parametrize(
    "text", ["rezise=3", "resize=0", "crop=1x2x3", "scale=1/0", "std=0", "mean=a", "mode=HSV", "x"]
)
def test_preprocess_text_that_cannot_be_read(text):
    with pytest.raises(DataError, match="preprocess"):
        Preprocess.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (1.0, 0.0)),
        ("scale=1/255", (1 / 255, 0.0)),
        ("mean=127,std=128", (1 / 128, 127.0)),
        ("scale=1/127.5,mean=1", (1 / 127.5, 127.5)),
        ("mean=127:127:127,std=128", (1 / 128, 127.0)),
        ("mean=0.485:0.456:0.406,scale=1/255", None),
    ],
)
def test_affine(text, expected):
    pre = Preprocess.parse(text)
    got = pre.affine()
    if expected is None:
        assert got is None
        return
    assert got == pytest.approx(expected)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    values = np.asarray(pre.values(pixels, axis=-1, dtype="float32"), np.float32)
    np.testing.assert_allclose(values, got[0] * (pixels - got[1]), rtol=1e-6, atol=1e-6)


def test_arrays_take_the_value_map_only():
    x = np.stack([picture(0), picture(1)])
    got = next(iter(open_samples(x, [COLOUR], preprocess="scale=1/127.5,mean=1")))
    np.testing.assert_array_equal(
        got.inputs["image"][0], (x[0] * (1 / 127.5) - 1).astype(np.float32)
    )
    with pytest.raises(DataError, match="resize the arrays yourself"):
        open_samples(x, [COLOUR], preprocess="crop=4")
    with pytest.raises(DataError, match="mean has 2 values, the image has 3"):
        list(open_samples(x, [COLOUR], preprocess="mean=1:2"))
    with pytest.raises(DataError, match="the input is uint8"):
        list(open_samples(x, [replace(COLOUR, dtype="uint8")], preprocess="scale=1/255"))
