"""caffe.io and Classifier against what pycaffe gave in 2015's arrangement."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from skimage import transform

from lbpmap import caffe
from lbpmap.caffe import data as caffe_data

SIZES = {"up": (72, 80), "down": (20, 24), "mixed": (72, 24)}


@pytest.fixture
def expected(fixtures):
    with np.load(fixtures / "io" / "io.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def pictures(fixtures):
    return {
        name: caffe.io.load_image(fixtures / "io" / f"{name}.png")
        for name in ("img", "grey", "rgba")
    }


@pytest.mark.parametrize("name", ["img", "grey", "rgba"])
def test_load_image(fixtures, expected, name):
    path = fixtures / "io" / f"{name}.png"
    for array, key in (
        (caffe.io.load_image(str(path)), f"load_color/{name}"),
        (caffe.io.load_image(path, color=False), f"load_gray/{name}"),
    ):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[key])


@pytest.mark.parametrize(
    ("mode", "value", "rgb"),
    [
        ("1", 1, [1, 1, 1]),
        ("LA", (51, 9), [0.2, 0.2, 0.2]),
        ("P", 0, [0.2, 0.4, 0.6]),
        ("CMYK", (204, 153, 102, 0), [0.2, 0.4, 0.6]),
        ("I;16", 13107, [0.2, 0.2, 0.2]),
    ],
)
def test_load_image_of_other_kinds(tmp_path, mode, value, rgb):
    picture = Image.new(mode, (3, 2), value)
    if mode == "P":
        picture.putpalette([51, 102, 153])
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    picture.save(path)
    array = caffe.io.load_image(path)
    assert array.shape == (2, 3, 3)
    np.testing.assert_allclose(array, np.broadcast_to(rgb, (2, 3, 3)), atol=1e-6)


@pytest.mark.parametrize("case", SIZES)
def test_resize_image(expected, pictures, check_equal, case):
    image, size = pictures["img"], SIZES[case]
    five = np.concatenate([image, image[:, :, :2]], 2)
    check_equal(caffe.io.resize_image(image, size), expected[f"resize_{case}_noaa"])
    check_equal(caffe.io.resize_image(image[:, :, :1], size), expected[f"resize_{case}_noaa_1ch"])
    nearest = caffe.io.resize_image(image, size, interp_order=0)
    np.testing.assert_array_equal(nearest, expected[f"resize_{case}_noaa_nearest"])
    check_equal(caffe.io.resize_image(five, size), expected[f"resize_{case}_5ch_zoom"])


def test_a_constant_picture_stays_constant(expected):
    flat = caffe.io.resize_image(np.full((5, 6, 3), 0.25, np.float32), (7, 9))
    np.testing.assert_array_equal(flat, expected["resize_const"])


def test_oversample(expected, pictures, check_equal):
    image = pictures["img"]
    large = caffe.io.resize_image(image, (72, 72))
    check_equal(caffe.io.oversample([large], (56, 56)), expected["oversample_56"])
    odd = caffe.io.oversample([image, image[::-1]], (31, 40))
    np.testing.assert_array_equal(odd, expected["oversample_odd"])
    with pytest.raises(ValueError, match="crops of 80 x 40 from 48 x 60 pixels"):
        caffe.io.oversample([image], (80, 40))


def transformer(mean, scale=None):
    result = caffe.io.Transformer({"data": (1, 3, 56, 56)})
    result.set_transpose("data", (2, 0, 1))
    result.set_channel_swap("data", (2, 1, 0))
    result.set_raw_scale("data", 255)
    result.set_mean("data", mean)
    if scale is not None:
        result.set_input_scale("data", scale)
    return result


def test_transformer(expected, pictures, check_equal):
    mean = expected["mean_array"][0]
    full = transformer(mean, 0.5)
    check_equal(full.mean["data"], expected["transformer_mean_resized"])
    check_equal(full.preprocess("data", pictures["img"]), expected["preprocess"])
    check_equal(full.deprocess("data", expected["preprocess"]), expected["deprocess"])
    pixel = transformer(mean.mean((1, 2)), 0.5)
    check_equal(pixel.preprocess("data", pictures["img"]), expected["preprocess_meanpix"])


def test_transformer_refuses_what_does_not_fit():
    good = transformer(np.zeros(3))
    with pytest.raises(ValueError, match="'image' is not one of the net inputs: data"):
        good.set_raw_scale("image", 255)
    with pytest.raises(ValueError, match="Transpose order of 2 axes"):
        good.set_transpose("data", (0, 1))
    with pytest.raises(ValueError, match="Channel swap of 2"):
        good.set_channel_swap("data", (1, 0))
    with pytest.raises(ValueError, match="Mean channels incompatible with input: 4"):
        good.set_mean("data", np.zeros(4))
    with pytest.raises(ValueError, match="Mean shape invalid"):
        good.set_mean("data", np.zeros((1, 3, 56, 56)))
    grey = caffe.io.Transformer({"data": (1, 1, 4, 4)})
    grey.set_mean("data", np.full((8, 8), 3.0))
    assert grey.mean["data"].tolist() == np.full((1, 4, 4), 3).tolist()


def test_blobprotos(fixtures, expected):
    for name in ("mean_legacy", "mean_shape"):
        raw = (fixtures / "io" / f"{name}.binaryproto").read_bytes()
        array = caffe.io.blobproto_to_array(caffe.io.caffe_pb2.BlobProto.FromString(raw))
        np.testing.assert_array_equal(array, expected["mean_array"])


def test_blobprotos_of_arrays():
    array = np.arange(24).reshape(2, 3, 4)
    blob = caffe.io.array_to_blobproto(array, diff=array + 1)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob), array)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob, return_diff=True), array + 1)
    text = caffe.io.arraylist_to_blobprotovector_str([array, array[0]])
    back = caffe.io.blobprotovector_str_to_arraylist(text)
    assert [a.shape for a in back] == [(2, 3, 4), (3, 4)]


def classifier(fixtures, **settings):
    nets = fixtures / "nets"
    return caffe.Classifier(
        str(nets / "mini_emotiw_v1.prototxt"), str(nets / "mini_emotiw_v2.caffemodel"), **settings
    )


def test_classifier(fixtures, expected, pictures, check_equal):
    image = pictures["img"]
    net = classifier(
        fixtures,
        mean=expected["mean_array"][0],
        channel_swap=(2, 1, 0),
        raw_scale=255,
        image_dims=(72, 72),
    )
    for inputs, crops, key in (
        ([image], True, "classifier_over"),
        ([image], False, "classifier_center"),
        ([image, image[::-1], image[:, ::-1]], False, "classifier_3_center"),
    ):
        scores = net.predict(inputs, oversample=crops)
        assert scores.shape == expected[key].shape
        assert np.abs(scores - expected[key]).max() <= 1e-6
    # What is left of the last batch: the third picture, and zeros.
    check_equal(net.blobs["data"].data, expected["classifier_input"])
    check_equal(net.blobs["conv1"].data, expected["classifier_conv1"])


def test_classifier_with_little_said(fixtures, expected, pictures):
    image = pictures["img"]
    net = classifier(fixtures, raw_scale=255)
    assert net.image_dims.tolist() == [56, 56]
    scores = net.predict([image, image[::-1]])
    assert np.abs(scores - expected["classifier_default_over"]).max() <= 1e-6
    halved = classifier(fixtures, raw_scale=510, input_scale=0.5)
    np.testing.assert_allclose(halved.predict([image, image[::-1]]), scores, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "kind", "error"),
    [
        ([], ValueError, "inputs hold no picture"),
        (np.zeros((8, 8, 3)), ValueError, r"got one array of shape \(8, 8, 3\); call predict\(\["),
        ([np.zeros((8, 8))], ValueError, r"picture 0 must be \(H, W, C\), got shape \(8, 8\)"),
        (["x"], TypeError, "picture 0 must be an array .* got str; io.load_image reads a file"),
        ("x.png", TypeError, "inputs must be a list of pictures, got str"),
        (
            [np.zeros((8, 8, 3)), np.zeros((8, 8, 4))],
            ValueError,
            "picture 1 has 4 channels, picture 0 has 3",
        ),
    ],
)
def test_predict_says_what_it_needs(fixtures, value, kind, error):
    with pytest.raises(kind, match=error) as caught:
        classifier(fixtures).predict(value)
    assert str(caught.value).startswith("Classifier.predict: ")
    assert "\n" not in str(caught.value)


def test_a_mean_must_be_an_array(fixtures):
    for mean in ("mean.npy", [1, 2, 3]):
        with pytest.raises(TypeError, match=r"Transformer\.set_mean: mean must be an array"):
            classifier(fixtures, mean=mean)
    with pytest.raises(TypeError, match="got NoneType"):
        transformer(None)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("case", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_splines_are_those_of_scikit_image(pictures, case, order, channels):
    pytest.importorskip("skimage", "0.19", reason="scikit-image had other splines before")
    image, size = pictures["img"][:, :, :channels] * 200 - 30, SIZES[case]
    low, high = image.min(), image.max()
    unit = ((image - low) / (high - low)).astype(np.float64)
    expected = transform.resize(
        unit, size, order=order, mode="constant", cval=0, anti_aliasing=False, clip=True
    )
    resized = caffe.io.resize_image(image, size, order)
    assert resized.dtype == np.float32
    assert resized.shape == (*size, channels)
    assert np.abs((resized - low) / (high - low) - expected).max() <= 1e-6


def test_splines_of_a_constant_picture():
    assert (caffe.io.resize_image(np.full((5, 6, 3), 7, np.uint8), (7, 9), 3) == 7).all()


@pytest.mark.parametrize(
    ("arguments", "kind", "error"),
    [
        (("x.png", (4, 4)), TypeError, "im must be an array .* got str"),
        ((np.zeros((8, 8)), (4, 4)), ValueError, r"im must be \(H, W, C\), got shape \(8, 8\)"),
        ((np.zeros((8, 0, 3)), (4, 4)), ValueError, r"im must be .* got shape \(8, 0, 3\)"),
        ((np.zeros((8, 8, 3)), 4), TypeError, r"new_dims must be \(rows, columns\), got 4$"),
        ((np.zeros((8, 8, 5)), (4, 0)), ValueError, "new_dims must be positive, got 4 x 0"),
        ((np.zeros((8, 8, 3)), (4, 4), 6), ValueError, "interp_order must be from 0 to 5, got 6"),
    ],
)
def test_resizing_says_what_it_needs(arguments, kind, error):
    with pytest.raises(kind, match=f"^resize_image: {error}"):
        caffe.io.resize_image(*arguments)


def test_load_image_of_what_is_no_picture(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(OSError, match=r"text\.png: not a picture; expected .* PNG or JPEG$"):
        caffe.io.load_image(text)
    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(whole)
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(OSError, match=r"cut\.png: damaged or cut short \("):
        caffe.io.load_image(cut)
    with pytest.raises(FileNotFoundError, match="no such file; expected a picture"):
        caffe.io.load_image(tmp_path / "none.png")


def test_datums():
    for kind in (np.uint8, np.float64):
        array = np.arange(24).reshape(2, 3, 4).astype(kind)
        datum = caffe.io.array_to_datum(array, 5)
        assert datum.label == 5
        back = caffe.io.datum_to_array(
            caffe.io.caffe_pb2.Datum.FromString(datum.SerializeToString())
        )
        assert back.dtype == kind
        np.testing.assert_array_equal(back, array)
    with pytest.raises(ValueError, match=r"arr must be \(C, H, W\), got shape \(3,\)"):
        caffe.io.array_to_datum(np.zeros(3))
    datum.height = 9
    with pytest.raises(ValueError, match=r"24 values do not fill the shape \(2, 9, 4\)"):
        caffe.io.datum_to_array(datum)


def encoded(picture, kind):
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, kind)
    return caffe.io.caffe_pb2.Datum(data=buffer.getvalue(), encoded=True)


def test_compressed_datums():
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (5, 4, 3), np.uint8)
    array = caffe.io.datum_to_array(encoded(picture, "PNG"))
    np.testing.assert_array_equal(array, picture[:, :, ::-1].transpose(2, 0, 1))
    grey = caffe.io.datum_to_array(encoded(picture[:, :, 0], "PNG"))
    np.testing.assert_array_equal(grey, picture[np.newaxis, :, :, 0])
    flat = caffe.io.datum_to_array(encoded(np.full((8, 8, 3), 100, np.uint8), "JPEG"))
    assert flat.shape == (3, 8, 8)
    assert np.abs(flat.astype(int) - 100).max() <= 1
    damaged = caffe.io.caffe_pb2.Datum(data=b"no picture", encoded=True)
    with pytest.raises(ValueError, match="the encoded picture: not a picture that can be read"):
        caffe.io.datum_to_array(damaged)


def test_datums_of_a_real_database(fixtures):
    """The same pictures lie there as bytes, PNG and numbers."""
    pytest.importorskip("lmdb")
    kinds = set()
    for _, datum in caffe_data.read_lmdb(fixtures / "io" / "lmdb"):
        array = caffe.io.datum_to_array(datum)
        assert array.ndim == 3
        assert array.size > 0
        kinds.add((bool(datum.encoded), array.dtype.kind))
    assert kinds == {(False, "u"), (True, "u"), (False, "f")}


def test_blobs_of_doubles():
    blob = caffe.io.caffe_pb2.BlobProto(double_data=[1, 2, 3, 4], double_diff=[5, 6, 7, 8])
    blob.shape.dim.extend([2, 2])
    assert caffe.io.blobproto_to_array(blob).tolist() == [[1, 2], [3, 4]]
    assert caffe.io.blobproto_to_array(blob, return_diff=True).tolist() == [[5, 6], [7, 8]]
    blob.shape.dim.append(3)
    with pytest.raises(
        ValueError, match=r"blobproto_to_array: 4 values do not fill .* \(2, 2, 3\)"
    ):
        caffe.io.blobproto_to_array(blob)
