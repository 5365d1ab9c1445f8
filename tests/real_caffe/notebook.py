"""What the demo notebook of the released nets does, for a few pictures; what it draws is kept."""

import sys

import caffe
import numpy as np

categories = ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]


def vis_square(data, padsize=1, padval=0):
    """Lay pictures out in a square, as the notebook does: into the array itself, too."""
    data -= data.min()
    data /= data.max()
    n = int(np.ceil(np.sqrt(data.shape[0])))
    padding = ((0, n**2 - data.shape[0]), (0, padsize), (0, padsize)) + ((0, 0),) * (data.ndim - 3)
    data = np.pad(data, padding, mode="constant", constant_values=(padval, padval))
    data = data.reshape((n, n) + data.shape[1:])
    data = data.transpose((0, 2, 1, 3) + tuple(range(4, data.ndim)))
    return data.reshape((n * data.shape[1], n * data.shape[3]) + data.shape[4:])


found = {}
for name in sys.argv[1:]:
    with open("mean.binaryproto", "rb") as file:
        a = caffe.io.caffe_pb2.BlobProto.FromString(file.read())
    mean = caffe.io.blobproto_to_array(a)[0]
    net = caffe.Classifier(
        "deploy.prototxt",
        "EmotiW_VGG_S.caffemodel",
        mean=mean,
        channel_swap=(2, 1, 0),
        raw_scale=255,
        image_dims=(256, 256),
    )
    input_image = caffe.io.load_image(name + ".png")
    prediction = net.predict([input_image], oversample=False)
    found[name + " prediction"] = prediction
    found[name + " category"] = np.array(categories[prediction[0].argmax()])
    found[name + " blobs"] = np.array([str((k, v.data.shape)) for k, v in net.blobs.items()])
    found[name + " params"] = np.array([str((k, v[0].data.shape)) for k, v in net.params.items()])
    filters = net.params["conv1"][0].data
    found[name + " filters"] = vis_square(filters.transpose(0, 2, 3, 1))
    for blob in ("conv1", "pool1"):
        feat = net.blobs[blob].data[0]
        found[name + " " + blob] = vis_square(feat, padval=1)
np.savez("found.npz", **found)
