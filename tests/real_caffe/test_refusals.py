"""Mistakes in prototxts at which real Caffe gives up: here they are an error of one line."""

from __future__ import annotations

import pytest

X = (
    'layer { name: "x" type: "Input" top: "x" '
    "input_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } } }\n"
)
L = 'layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 2 } } }\n'


def one(kind, settings="", bottom="x", top="y", more=""):
    return (
        f'layer {{ name: "m" type: "{kind}" bottom: "{bottom}" {more} top: "{top}" {settings} }}\n'
    )


def conv(settings):
    return one("Convolution", f"convolution_param {{ {settings} }}")


def pool(settings):
    return one("Pooling", f"pooling_param {{ {settings} }}")


LABEL = 'bottom: "l"'
MISTAKES = {
    "an unknown field": one("ReLU", "relu_parm { }"),
    "an unknown type": one("Relu"),
    "a brace too few": X + 'layer { name: "y"',
    "a text for a number": conv('num_output: "3" kernel_size: 3'),
    "an unknown bottom": one("ReLU", bottom="z"),
    "a top made twice": one("ReLU") + one("TanH"),
    "too many bottoms": one("ReLU", more='bottom: "x"'),
    "too many tops": one("ReLU", 'top: "z"'),
    "no num_output": conv("kernel_size: 3"),
    "no kernel": conv("num_output: 3"),
    "two kinds of kernel": conv("num_output: 3 kernel_size: 3 kernel_h: 3 kernel_w: 3"),
    "half a kernel": conv("num_output: 3 kernel_h: 3"),
    "a group that does not divide": conv("num_output: 3 kernel_size: 3 group: 2"),
    "no stride": conv("num_output: 3 kernel_size: 3 stride: 0"),
    "no pooling kernel": pool("pool: MAX"),
    "padding as large as the kernel": pool("kernel_size: 2 pad: 2"),
    "global pooling with a kernel": pool("global_pooling: true kernel_size: 2"),
    "an even window": one("LRN", "lrn_param { local_size: 4 }"),
    "an unknown filler": conv('num_output: 1 kernel_size: 1 weight_filler { type: "xaver" }'),
    "a uniform filler upside down": conv(
        'num_output: 1 kernel_size: 1 weight_filler { type: "uniform" min: 1 max: -1 }'
    ),
    "a bilinear filler of no square": conv(
        'num_output: 1 kernel_h: 1 kernel_w: 2 weight_filler { type: "bilinear" }'
    ),
    "slices that do not fit": one("Slice", 'top: "z" slice_param { slice_point: 4 }'),
    "slices that do not divide": one("Slice", 'top: "z" top: "u"'),
    "a crop beyond": X.replace('"x"', '"r"')
    + one("Crop", "crop_param { offset: 1 }", more='bottom: "r"'),
    "a sum of shapes that differ": X.replace('"x"', '"r"').replace("dim: 6 }", "dim: 5 }")
    + one("Eltwise", more='bottom: "r"'),
    "coefficients of a product": X.replace('"x"', '"r"')
    + one("Eltwise", "eltwise_param { operation: PROD coeff: 1 coeff: 2 }", more='bottom: "r"'),
    "a concat of shapes that differ": X.replace('"x"', '"r"').replace("dim: 6 }", "dim: 5 }")
    + one("Concat", more='bottom: "r"'),
    "a reshape that does not fit": one("Reshape", "reshape_param { shape { dim: 5 dim: -1 } }"),
    "a reshape of two unknowns": one("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }"),
    "an axis beyond": one("Softmax", "softmax_param { axis: 4 }"),
    "labels that do not fit": L + one("SoftmaxWithLoss", more=LABEL),
    "a top_k beyond": L
    + one("Flatten")
    + one("Accuracy", "accuracy_param { top_k: 200 }", "y", "z", LABEL).replace('"m"', '"n"'),
    "loss weights of other tops": one("ReLU", "loss_weight: 1 loss_weight: 2"),
    "a loss of two tops without weights": L
    + one("Flatten")
    + one("SoftmaxWithLoss", "", "y", "z", LABEL + ' top: "p"'),
    "shared parameters that differ": one(
        "InnerProduct", 'param { name: "w" } inner_product_param { num_output: 2 }'
    )
    + one("InnerProduct", 'param { name: "w" } inner_product_param { num_output: 3 }', top="z"),
    "shared rates that differ": one(
        "InnerProduct", 'param { name: "w" lr_mult: 1 } inner_product_param { num_output: 2 }'
    )
    + one(
        "InnerProduct",
        'param { name: "w" lr_mult: 2 } inner_product_param { num_output: 2 }',
        top="z",
    ),
    "more params than there are": one("ReLU", "param { lr_mult: 1 }"),
    "more propagate_down than bottoms": one("ReLU", "propagate_down: true propagate_down: true"),
    "include and exclude": one("ReLU", "include { phase: TEST } exclude { phase: TRAIN }"),
    "batch normalisation of one axis": L + one("BatchNorm", bottom="l"),
    "learned batch statistics": one("BatchNorm", "param { lr_mult: 1 }"),
    "a PReLU of no channels": L + one("PReLU", bottom="l"),
    "an SPP too high": one("SPP", "spp_param { pyramid_height: 5 }"),
    "a base below zero": one("Exp", "exp_param { base: -2 }"),
    "no tiles": one("Tile", "tile_param { axis: 1 }"),
    "an Embed without words": one("Embed", "embed_param { num_output: 2 }"),
    "in place and read twice": one("ReLU", top="a")
    + one("TanH", "", "a", "a").replace('"m"', '"n"')
    + one("Power", "", "x", "x"),
    "a data layer without a source": 'layer { name: "d" type: "HDF5Data" top: "d" '
    'hdf5_data_param { source: "none.txt" batch_size: 1 } }',
    "a reduction of no axis": one("Reduction", "reduction_param { axis: 5 }"),
    "a flatten backwards": one("Flatten", "flatten_param { axis: 3 end_axis: 1 }"),
}


def made(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    net.forward()
    if given.get("backward"):
        net.backward()
    return {"blobs": len(net.blobs)}


@pytest.mark.parametrize("case", MISTAKES)
def test_net_refused_by_both(in_real, in_ours, refused, case):
    files = {"net.prototxt": X + MISTAKES[case]}
    with pytest.raises(refused):
        in_real(made, files)
    with pytest.raises((ValueError, OSError)) as error:
        in_ours(made, files)
    assert "\n" not in str(error.value)


NET = (
    L + 'layer { name: "ip" type: "InnerProduct" bottom: "l" top: "y" '
    "inner_product_param { num_output: 2 axis: 0 } }"
)
SOLVERS = {
    "no net": 'base_lr: 0.1 lr_policy: "fixed"',
    "two nets": 'net: "net.prototxt" train_net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed"',
    "an unknown type": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" type: "Sgd"',
    "an unknown policy": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "constant"',
    "no policy": 'net: "net.prototxt" base_lr: 0.1',
    "a step of nothing": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "step" gamma: 0.1',
    **{
        f"{policy} that grows": f'net: "net.prototxt" base_lr: 0.1 lr_policy: "{policy}" '
        "gamma: -0.5 stepsize: 2 stepvalue: 0"
        for policy in ("step", "exp", "inv", "multistep", "sigmoid")
    },
    "a sigmoid of no middle": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "sigmoid" gamma: 0.5',
    "the mean of no losses": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" average_loss: 0',
    "momentum of AdaGrad": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" type: "AdaGrad" '
    "momentum: 0.9",
    "momentum of RMSProp": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" type: "RMSProp" '
    "momentum: 0.9",
    "a decay of RMSProp": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" type: "RMSProp" '
    "rms_decay: 1",
    "an unknown regularisation": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" '
    'regularization_type: "L3" weight_decay: 0.1',
    "tests without iterations": 'net: "net.prototxt" test_net: "net.prototxt" base_lr: 0.1 '
    'lr_policy: "fixed"',
    "iterations without an interval": 'net: "net.prototxt" test_iter: 2 base_lr: 0.1 '
    'lr_policy: "fixed"',
    "a folder that is not there": 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" '
    'snapshot: 1 snapshot_prefix: "none/snap"',
}


def solved(caffe, live, given):
    solver = caffe.get_solver("solver.prototxt")
    solver.step(1)
    return {"iter": solver.iter}


@pytest.mark.parametrize("case", SOLVERS)
def test_solver_refused_by_both(in_real, in_ours, refused, case):
    files = {"net.prototxt": NET, "solver.prototxt": SOLVERS[case]}
    with pytest.raises(refused):
        in_real(solved, files)
    with pytest.raises((ValueError, OSError)) as error:
        in_ours(solved, files)
    assert "\n" not in str(error.value)
