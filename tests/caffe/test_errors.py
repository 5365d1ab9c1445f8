"""What a net refuses, and in which words: one line, the file, the layer, what was expected."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbpmap import caffe


def blob(dims, name="i"):
    shape = f"input_param {{ shape {{ {dims} }} }}"
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" {shape} }}\n'


DATA = blob("dim: 2 dim: 4 dim: 6 dim: 6", "data")


def one(kind, more="", bottom="data", top=None, name="x"):
    """Give the text of one layer."""
    names = f'name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top or name}"'
    return f"layer {{ {names} {more} }}\n"


def conv(settings):
    return one("Convolution", f"convolution_param {{ {settings} }}")


def pool(settings, more="", top=None):
    return one("Pooling", f"pooling_param {{ {settings} }} {more}", top=top)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            one("Deconvolutoin"),
            r'layer "x" \(Deconvolutoin\): unknown layer type "Deconvolutoin"; known are AbsVal, ',
        ),
        (one("ReLU", bottom="dta"), r'layer "x": unknown bottom blob "dta"'),
        (
            one("ReLU", top="data", bottom="data") + one("ReLU", bottom="x", name="y"),
            'layer "y": unknown bottom blob "x"',
        ),
        (
            one("ReLU") + one("AbsVal", top="x", name="y"),
            r'layer "y": top blob "x" is already made by layer "x"',
        ),
        (one("Slice", 'top: "x"'), r'layer "x": top blob "x" is named twice'),
        (one("ReLU", top="data") + one("ReLU", name="y") + one("ReLU", name="z"), None),
        (
            one("AbsVal", name="y") + one("ReLU", top="data"),
            r'layer "x": cannot overwrite blob "data" in place, another layer reads it',
        ),
        (
            one("Flatten", top="data"),
            r'layer "x" \(Flatten\): cannot overwrite its bottom "data" in place',
        ),
        (pool("kernel_size: 2", top="data"), r'layer "x" \(Pooling\): cannot overwrite its bottom'),
        (
            one("ReLU", "include { phase: TEST } exclude { phase: TRAIN }"),
            r'layer "x": has include and exclude',
        ),
        (one("Eltwise"), r'layer "x" \(Eltwise\): has 1 bottom blob\(s\), needs 2 or more'),
        (one("ReLU", 'top: "y"'), r"has 2 top blob\(s\), needs 1$"),
        (pool("kernel_size: 2", 'top: "y" top: "z"'), r"has 3 top blob\(s\), needs 1 to 2$"),
        (conv("num_output: 4 kernel_size: 0"), "kernel_size is 0 x 0, it must be at least 1"),
        (conv("num_output: 4 kernel_size: 3 stride: 0"), "stride is 0 x 0"),
        (conv("num_output: 4 kernel_size: 3 dilation: 0"), "dilation is 0 x 0"),
        (conv("kernel_size: 3"), "num_output must be at least 1"),
        (conv("num_output: 4"), "kernel_size is missing"),
        (
            conv("num_output: 4 kernel_size: 3 kernel_h: 3"),
            "kernel is given together with kernel_h or kernel_w",
        ),
        (
            conv("num_output: 4 kernel_size: 3 stride: [1, 1, 1]"),
            "stride is given 3 times, for 2 spatial axes",
        ),
        (
            conv("num_output: 4 kernel_size: 7"),
            "kernel of 7 x 7 is larger than the padded input of 6 x 6",
        ),
        (
            conv("num_output: 4 kernel_size: 3 group: 3"),
            "group 3 does not divide 4 input and 4 output channels",
        ),
        (conv("num_output: 4 kernel_size: 3 axis: 3"), "no axes behind its channels"),
        (conv("num_output: 4294967295 kernel_size: 3"), r"more than 2\^31 - 1 elements"),
        (
            conv("num_output: 1 kernel_size: 9000 pad: 9000"),
            r"windows of 4 x 81000000 are too many",
        ),
        (
            conv("num_output: 1 kernel_size: 3 pad: 30000 stride: 60000"),
            "the padded input of 4 x",
        ),
        (
            conv('num_output: 1 kernel_size: 3 weight_filler { type: "gausian" }'),
            'unknown filler "gausian"; known are constant',
        ),
        (one("Pooling"), "kernel_size is missing"),
        (pool("kernel_size: 2 stride: 0"), "stride is 0 x 0"),
        (pool("kernel_size: 2 pad: 2"), "pad of 2 x 2 must be smaller than the kernel"),
        (pool("kernel_size: 9"), "kernel of 9 x 9 is larger"),
        (pool("kernel_h: 2"), "kernel_h and kernel_w must be given together"),
        (pool("kernel_size: 2 kernel_h: 2 kernel_w: 2"), "kernel_size is given together"),
        (pool("global_pooling: true kernel_size: 2"), "global_pooling takes no kernel"),
        (pool("global_pooling: true stride: 2"), "global_pooling takes no pad"),
        (pool("pool: STOCHASTIC kernel_size: 2"), "STOCHASTIC is not supported"),
        (pool("pool: AVE kernel_size: 2", 'top: "m"'), "only pool: MAX has a mask"),
        (one("LRN", "lrn_param { local_size: 4 }"), "local_size is 4, it must be odd"),
        (
            one("InnerProduct", "inner_product_param { num_output: 3 axis: 4 }"),
            "axis is 4, the input of shape",
        ),
        (
            one("Dropout", "dropout_param { dropout_ratio: 1 }"),
            "dropout_ratio is 1, it must be from 0 to below 1",
        ),
        (one("Exp", "exp_param { base: 0 }"), "base is 0, it must be positive"),
        (one("Log", "log_param { base: 1 }"), "base is 1, it must be positive, .* 1 has no Log"),
        (one("Softmax", "softmax_param { axis: -5 }"), "axis is -5"),
        (one("Concat", 'bottom: "e"'), 'unknown bottom blob "e"'),
        (one("Slice", 'top: "y" top: "z"'), "3 tops do not divide 4"),
        (
            one("Slice", 'top: "y" slice_param { slice_point: 4 }'),
            r"slice_point \[4\] must be 1 rising",
        ),
        (one("Reshape", "reshape_param { shape { dim: 5 } }"), r"cannot take shape \[5\]"),
        (one("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }"), "may hold -1 once"),
        (one("Reshape", "reshape_param { axis: 9 }"), "axis 9, num_axes -1 do not fit"),
        (one("Flatten", "flatten_param { axis: 3 end_axis: 1 }"), "axis 3 lies behind end_axis 1"),
        (one("ArgMax", "argmax_param { top_k: 500 }"), "top_k is 500, it must be from 1 to 144"),
        (one("Scale", "scale_param { num_axes: 4 }"), "num_axes 4 is too many"),
        (one("SPP", "spp_param { pyramid_height: 0 }"), "pyramid_height is 0"),
        (one("SPP", "spp_param { pyramid_height: 6 }"), "pyramid_height 6 is too much"),
        (blob("dim: 2147483648 dim: 2147483648"), r"more than 2\^31 - 1 elements"),
        (blob("dim: -1"), "negative dimension"),
        ('layer { name: "i" type: "Input" top: "i" }', "has 1 tops but 0 shapes"),
        (blob("dim: 1 " * 40), "a blob of 40 axes"),
        (
            "".join(blob("dim: 2000000000", f"i{k}") for k in range(10)),
            'layer "i8" .* than 64 GiB',
        ),
    ],
)
def test_errors_name_the_layer(text_file, text, error):
    path = text_file(DATA + text)
    if error is None:
        assert caffe.Net(path, caffe.TEST).outputs == ["y", "z"]
        return
    with pytest.raises(ValueError, match=error) as caught:
        caffe.Net(path, caffe.TEST)
    assert str(caught.value).startswith(f"{path}: layer ")
    assert "\n" not in str(caught.value)


NUMBERS = re.compile(r"(?<=: )-?\d+")
HOSTILE = [
    "0",
    "-1",
    "1",
    "3",
    "100",
    "65536",
    "2147483647",
    "4294967295",
    "-2147483648",
    "9223372036854775807",
    "1e30",
    "nan",
]


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0), st.sampled_from(HOSTILE), st.integers(0), st.sampled_from(HOSTILE))
def test_hostile_numbers_build_a_net_or_raise_value_errors(tiny, at, number, also_at, also):
    text = tiny.read_text()
    for place, value in ((at, number), (also_at, also)):
        found = list(NUMBERS.finditer(text))
        match = found[place % len(found)]
        text = text[: match.start()] + value + text[match.end() :]
    path = tiny.with_name("hostile.prototxt")
    path.write_text(text)
    try:
        net = caffe.Net(path, caffe.TEST)
    except ValueError as error:
        # pytest.raises would not let a net pass that is good in spite of its odd numbers.
        one_line = str(error).startswith(str(path)) and "\n" not in str(error)
        if not one_line:
            raise
    else:
        assert list(net.params) == ["conv", "ip"]
