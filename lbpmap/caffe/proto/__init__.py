"""Where pycaffe keeps `caffe_pb2`."""
