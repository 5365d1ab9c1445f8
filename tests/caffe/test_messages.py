"""The schema: protobuf classes that read what Caffe writes, beside any other caffe_pb2."""

from __future__ import annotations

import copy
import hashlib
import pickle

import pytest
from google.protobuf import text_format

from lbpmap.caffe.formats import schema
from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.proto import caffe_pb2

# SHA-256 of `listing` of the caffe_pb2 in Debian 11's python3-caffe (1.0.0+git20180821).
LISTING_OF_CAFFE = "cc7599cb849156a80fbb56f5bedd4e312d9b13a57014fbba060384691f136d05"


def listing(file):
    """List every field and enum value of a description, a line each."""
    lines = []
    for name, message in file.message_types_by_name.items():
        for field in message.fields:
            kind = field.message_type or field.enum_type
            default = field.default_value if field.has_default_value else ""
            default = f"{default:.6g}" if isinstance(default, float) else default
            of = kind.full_name if kind else field.type
            new = hasattr(field, "is_repeated")  # protobuf 6
            repeated = field.is_repeated if new else field.label == field.LABEL_REPEATED
            marks = f"{bool(repeated)} {field.GetOptions().packed}"
            lines.append(f"{name} {field.name} {field.number} {of} {default} {marks}")
        for enum in message.enum_types:
            lines += [f"{name} {enum.name} {v.name} {v.number}" for v in enum.values]
    return sorted(lines)


def test_the_table_is_caffes():
    assert len(MESSAGES) == schema.SCHEMA.count("\nmessage ")
    text = "\n".join(listing(caffe_pb2.DESCRIPTOR))
    assert hashlib.sha256(text.encode()).hexdigest() == LISTING_OF_CAFFE


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


def test_files_of_caffe_are_parsed_and_serialised(fixtures):
    raw = (fixtures / "nets" / "mini_emotiw_v2.caffemodel").read_bytes()
    net = caffe_pb2.NetParameter()
    assert net.ParseFromString(raw) == len(raw)
    assert net.SerializeToString() == raw
    assert caffe_pb2.LayerParameter.FromString(net.layer[1].SerializeToString()) == net.layer[1]


def test_text_format_of_protobuf_works_on_them():
    net = caffe_pb2.NetParameter()
    text_format.Merge('name: "a" layer { type: "Pooling" pooling_param { pool: AVE } }', net)
    assert net.layer[0].pooling_param.pool == caffe_pb2.PoolingParameter.AVE
    assert text_format.Parse(text_format.MessageToString(net), caffe_pb2.NetParameter()) == net
    solver = caffe_pb2.SolverParameter()
    text_format.Parse("solver_type: ADAM", solver)
    assert solver.solver_type == caffe_pb2.SolverParameter.ADAM == 5


def test_messages_are_pickled_by_the_name_that_scripts_import():
    datum = caffe_pb2.Datum(channels=3, data=b"abc")
    raw = pickle.dumps(datum)
    assert b"lbpmap.caffe.proto.caffe_pb2" in raw
    assert pickle.loads(raw) == datum == copy.deepcopy(datum)


def test_all_names_are_imported_by_a_star():
    names = {}
    exec("from lbpmap.caffe.proto.caffe_pb2 import *", names)
    assert names["TRAIN"] == 0
    assert names["DESCRIPTOR"].package == "caffe"
    assert set(names) >= set(MESSAGES)
