"""Nets in files for other stacks: ONNX, safetensors, PyTorch's .pt2.

`export` writes a net that runs in the TEST phase, and has the file run by its own runtime against
our engine before it gets its name. `read_about` reads what a file says about itself.
"""

from __future__ import annotations

from lbpmap.caffe.export.about import read_about
from lbpmap.caffe.export.checking import TOLERANCE, Trial
from lbpmap.caffe.export.files import (
    Exported,
    export,
    export_files,
    refuse_python_layers,
    set_items,
)
from lbpmap.caffe.export.onnx_net import FORMS, OPSET, Front
from lbpmap.caffe.export.onnx_writer import Writer
from lbpmap.caffe.export.writers import FORMATS

__all__ = [
    "FORMATS",
    "FORMS",
    "OPSET",
    "TOLERANCE",
    "Exported",
    "Front",
    "Trial",
    "Writer",
    "export",
    "export_files",
    "read_about",
    "refuse_python_layers",
    "set_items",
]
