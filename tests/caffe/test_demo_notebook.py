"""The calls of the released nets' demo notebook, on a small net: the numbers of real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe

NET = """
name: "demo"
input: "data" input_dim: 10 input_dim: 3 input_dim: 24 input_dim: 24
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 5 stride: 2 } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "norm1" type: LRN bottom: "conv1" top: "norm1"
  lrn_param { local_size: 5 alpha: 0.0005 beta: 0.75 k: 2 } }
layers { name: "pool1" type: POOLING bottom: "norm1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 3 } }
layers { name: "fc8_cat" type: INNER_PRODUCT bottom: "pool1" top: "fc8_cat"
  inner_product_param { num_output: 5 } }
layers { name: "prob" type: SOFTMAX bottom: "fc8_cat" top: "prob" }
"""

# From real Caffe 1.0, its resizing without the smoothing that scikit-image has added since.
CENTRE = [[0.15985216, 0.4190371, 0.26978025, 0.08221967, 0.06911081]]
OVERSAMPLED = [[0.1609657, 0.42182317, 0.26957336, 0.08098514, 0.06665265]]
WITHOUT_FIRST_FILTER = [[0.15587299, 0.41566765, 0.2721836, 0.08431551, 0.07196021]]
FILTER = [[0.0, 0.01288435], [-0.00701566, -0.01743151]]
CONV1 = [3.8280196, 0.0, 5.638351, 1.7568016, 0.0, 7.753173]
POOL1 = [5.2216988, 3.253629, 4.911839, 5.58862, 4.7962666, 3.9147916]


def wave(shape, step):
    values = np.sin(step * np.arange(np.prod(shape)))
    return values.reshape(shape).astype(np.float32)


@pytest.fixture
def files(text_file, tmp_path):
    """Give the paths of the prototxt, the caffemodel and the mean."""
    model = text_file(NET, "deploy.prototxt")
    net = caffe.Net(model, caffe.TEST)
    for i, name in enumerate(("conv1", "fc8_cat")):
        weights, biases = net.params[name]
        weights.data[...] = wave(weights.data.shape, 0.7 + i) * 0.02
        biases.data[...] = wave(biases.data.shape, 0.3 + i)
    net.save(tmp_path / "EmotiW.caffemodel")
    mean = caffe.io.array_to_blobproto(100 + 20 * wave((1, 3, 32, 32), 0.01))
    (tmp_path / "mean.binaryproto").write_bytes(mean.SerializeToString())
    return model, tmp_path / "EmotiW.caffemodel", tmp_path / "mean.binaryproto"


def test_the_notebook(files, check_equal):
    model, weights, mean_file = files
    with open(mean_file, "rb") as file:
        blob = caffe.io.caffe_pb2.BlobProto.FromString(file.read())
    mean = caffe.io.blobproto_to_array(blob)[0]
    net = caffe.Classifier(
        model,
        weights,
        mean=mean,
        channel_swap=(2, 1, 0),
        raw_scale=255,
        image_dims=(32, 32),
    )
    picture = (wave((40, 50, 3), 0.05) + 1) / 2

    prediction = net.predict([picture], oversample=False)
    assert prediction.dtype == np.float32
    assert np.abs(prediction - CENTRE).max() <= 1e-6
    assert prediction[0].argmax() == 1
    assert [(name, blob.data.shape) for name, blob in net.blobs.items()] == [
        ("data", (10, 3, 24, 24)),
        ("conv1", (10, 6, 10, 10)),
        ("norm1", (10, 6, 10, 10)),
        ("pool1", (10, 6, 4, 4)),
        ("fc8_cat", (10, 5)),
        ("prob", (10, 5)),
    ]
    assert [(name, blobs[0].data.shape) for name, blobs in net.params.items()] == [
        ("conv1", (6, 3, 5, 5)),
        ("fc8_cat", (5, 96)),
    ]
    filters = net.params["conv1"][0].data
    check_equal(filters.transpose(0, 2, 3, 1)[0, :2, :2, 0], FILTER)
    check_equal(net.blobs["conv1"].data[0][:, 3, 4], CONV1)
    check_equal(net.blobs["pool1"].data[0][:, 1, 2], POOL1)
    assert np.abs(net.blobs["prob"].data[0] - CENTRE).max() <= 1e-6

    assert np.abs(net.predict([picture]) - OVERSAMPLED).max() <= 1e-6
    filters[0] = 0  # a live view: the net is changed
    changed = net.predict([picture], oversample=False)
    assert np.abs(changed - WITHOUT_FIRST_FILTER).max() <= 1e-6
