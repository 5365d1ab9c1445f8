"""The schema: protobuf classes that read what Caffe writes, beside any other caffe_pb2."""

from __future__ import annotations

import pytest

from lbpmap.caffe.formats import schema
from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.proto import caffe_pb2


def test_the_table_is_whole():
    assert len(MESSAGES) == schema.SCHEMA.count("\nmessage ")
    numbers = {name: len(m.DESCRIPTOR.fields) for name, m in MESSAGES.items()}
    assert numbers["LayerParameter"] == 60
    assert numbers["V1LayerParameter"] == 43
    assert numbers["SolverParameter"] == 42
    assert numbers["ConvolutionParameter"] == 18


def test_defaults_are_caffes():
    layer = caffe_pb2.LayerParameter()
    assert layer.lrn_param.beta == 0.75
    assert layer.lrn_param.local_size == 5
    assert layer.convolution_param.bias_term is True
    assert layer.batch_norm_param.eps == pytest.approx(1e-5)
    assert layer.window_data_param.crop_mode == "warp"
    assert caffe_pb2.SolverParameter().snapshot_format == caffe_pb2.SolverParameter.BINARYPROTO
    assert caffe_pb2.FillerParameter().type == "constant"


def test_enums_are_reached_as_in_pycaffe():
    assert caffe_pb2.TRAIN == 0
    assert caffe_pb2.Phase.Name(1) == "TEST"
    assert caffe_pb2.V1LayerParameter.LayerType.Name(39) == "DECONVOLUTION"
    assert caffe_pb2.PoolingParameter.FLOOR == 1
    assert "NetParameter" in dir(caffe_pb2)
    with pytest.raises(AttributeError, match="no message or enum 'Nonsense'"):
        _ = caffe_pb2.Nonsense


def test_packed_and_single_numbers_are_read_alike():
    packed = caffe_pb2.BlobProto(data=[1, 2]).SerializeToString()
    assert packed.hex() == "2a080000803f00000040"
    single = bytes.fromhex("2d0000803f2d00000040")
    assert list(caffe_pb2.BlobProto.FromString(single).data) == [1, 2]
