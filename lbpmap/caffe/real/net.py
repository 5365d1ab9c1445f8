"""A net of the real Caffe, as the other engines' nets are."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from lbpmap._arrays import F32
from lbpmap.caffe import parameters
from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.data import memory
from lbpmap.caffe.formats import hdf5
from lbpmap.caffe.formats import weights as weights_file
from lbpmap.caffe.net import Net
from lbpmap.caffe.parameters import PathLike, check_path
from lbpmap.caffe.real import link
from lbpmap.caffe.real.handle import Handle, opened
from lbpmap.caffe.running import Hook
from lbpmap.caffe.weighted import Weighted


class RealBlob(Blob):
    """A blob of the real Caffe: views of memory that its process shares with this one.

    What is written into a view takes effect with the next call, and after every call the view holds
    what Caffe has. That takes a copy each way, for as long as somebody holds the view, or another
    view of it.
    """

    def __init__(self, handle: Handle, place: list[int]) -> None:
        self._handle = handle
        self._place = place

    @property
    def data(self) -> F32:
        """The values, a writable view."""
        return self._show("data")

    @property
    def diff(self) -> F32:
        """The gradients, a writable view."""
        return self._show("diff")

    @property
    def shape(self) -> Shape:
        """The dimensions."""
        return tuple(self._handle.net("shape", blob=self._place))

    def array(self) -> F32:
        """Return the values."""
        return self.data

    def reshape(self, *dims: int) -> None:
        """Change the dimensions; values are kept as far as memory allows."""
        self._handle.net("reshape_blob", blob=self._place, dims=[int(dim) for dim in dims])

    def _show(self, kind: str) -> F32:
        return self._handle.show("show", blob=self._place, kind=kind)[0]


@dataclass
class RealLayer:
    """A layer of the real Caffe."""

    name: str
    type: str
    blobs: list[RealBlob]


class RealNet(Net):
    """A net that the real Caffe runs, in the worker's process; `Net` makes it."""

    handle: Handle
    layers: list[RealLayer]  # type: ignore[assignment]
    blobs: OrderedDict[str, RealBlob]  # type: ignore[assignment]

    def _open(
        self, model: PathLike, phase: int, level: int, stages: list[str], own_engine: str | None
    ) -> None:
        there = link.current()
        there.work_here()
        with opened(there, [model], "a prototxt") as (files, names):
            number = there.call(
                "net",
                source=os.fspath(model),
                files=files,
                names=names,
                phase=phase,
                level=level,
                stages=stages,
            )
        self.adopt(Handle(there, number, os.fspath(model)))

    @classmethod
    def of_handle(cls, handle: Handle) -> RealNet:
        """Return a net that the worker has made."""
        net: RealNet = object.__new__(cls)
        net.adopt(handle)
        return net

    def adopt(self, handle: Handle) -> None:
        """Become a net that the worker has made."""
        self.handle = handle
        self._source = handle.source
        self._files: list[tuple[PathLike, bool]] = []  # and whether it is in HDF5
        self._fed: list[tuple[F32, F32]] = []
        about = handle.net("describe")
        self._layer_names = about["layers"]
        self._blob_names = about["blobs"]
        self.inputs, self.outputs = about["inputs"], about["outputs"]
        self.blobs = OrderedDict(
            (name, RealBlob(handle, [i])) for i, name in enumerate(self._blob_names)
        )
        self.layers = [
            RealLayer(name, kind, [RealBlob(handle, [i, j]) for j in range(count)])
            for i, (name, kind, count) in enumerate(
                zip(self._layer_names, about["types"], about["params"])
            )
        ]
        self.layer_dict = OrderedDict(zip(self._layer_names, self.layers))  # type: ignore[arg-type]
        self.params = OrderedDict((la.name, list(la.blobs)) for la in self.layers if la.blobs)
        self.top_names = OrderedDict(zip(self._layer_names, about["tops"]))
        self.bottom_names = OrderedDict(zip(self._layer_names, about["bottoms"]))
        self.blob_loss_weights = OrderedDict(zip(self._blob_names, about["loss_weights"]))

    def _run(self, first: int, last: int) -> None:
        for given, shared in self._fed:
            shared[...] = given
        self._pass("_forward", first, last)

    def _run_backward(self, first: int, last: int) -> None:
        self._pass("_backward", first, last)

    def _pass(self, name: str, first: int, last: int) -> None:
        handle = self.handle
        handle.link.call(
            "pass",
            source=f"{handle.source}: Net.{name[1:]}",
            net=handle.number,
            name=name,
            first=first,
            last=last,
        )

    def reshape(self) -> None:
        """Fit every blob to the shapes of the inputs; what does not fit ends all nets of Caffe."""
        self.handle.method("reshape")

    def copy_from(self, files: PathLike | Sequence[PathLike]) -> None:
        """Take the weights of one or more caffemodels, layer by layer name; see `Net.copy_from`."""
        for path in parameters.file_names(files, "Net.copy_from"):
            self.handle.read("copy_from", path, "a caffemodel")
            self._files.append((path, os.fspath(path).endswith(".h5")))

    def load_hdf5(self, path: PathLike) -> None:
        """Take the weights of an HDF5 file, whatever its name; see `copy_from`."""
        check_path("Net.load_hdf5: path", path, "a caffemodel in HDF5")
        self.handle.read("load_hdf5", path, "a caffemodel in HDF5")
        self._files.append((path, True))

    def unfilled_layers(self) -> list[str]:
        """Name the layers that none of the files holds that weights were taken from."""
        held: set[str] = set()
        for path, is_hdf5 in self._files:
            if is_hdf5:
                held.update(hdf5.index_net(path))
            else:
                held.update(entry.name for entry in weights_file.index(path))
        return [name for name in self.params if name not in held]

    def share_with(self, other: Weighted) -> None:
        """Use the parameters of another net of the real Caffe; see `Net.share_with`."""
        if not isinstance(other, RealNet):
            raise TypeError(
                f"Net.share_with: other must be a Net of the real Caffe too, got "
                f"{type(other).__name__} of another engine"
            )
        self.handle.share("share_with", other.handle)
        self._files.extend(other._files)

    def clear_param_diffs(self) -> None:
        """Set the gradients of all parameters to zero."""
        self.handle.method("clear_param_diffs")

    def save(self, path: PathLike, write_diff: bool = False) -> None:
        """Write a caffemodel; whole or not at all.

        Raises
        ------
        ValueError
            When gradients are asked for, which pycaffe does not write, and as `Net.save`.
        """
        check_path("Net.save: path", path, "the caffemodel to write")
        self._no_diffs(write_diff, "Net.save")
        self.handle.write("save", path)

    def save_hdf5(self, path: PathLike, write_diff: bool = False) -> None:
        """Write the parameters in HDF5; see `save`."""
        check_path("Net.save_hdf5: path", path, "the HDF5 file to write")
        self._no_diffs(write_diff, "Net.save_hdf5")
        self.handle.write("save_hdf5", path)

    def set_input_arrays(self, data: F32, labels: F32) -> None:
        """Give the net's first layer, of type MemoryData, what it hands out; see `Net`."""
        memory.check_arrays(data, labels)
        labels = labels.reshape(-1, 1, 1, 1)
        shared = self.handle.show("feed", shapes=[data.shape, labels.shape])
        self._fed = list(zip((data, labels), shared))

    def before_forward(self, hook: Hook) -> None:
        """Call `hook` with the number of each layer before it runs forward."""
        self._hook("before_forward", hook)

    def after_forward(self, hook: Hook) -> None:
        """Call `hook` with the number of each layer after it has run forward."""
        self._hook("after_forward", hook)

    def before_backward(self, hook: Hook) -> None:
        """Call `hook` with the number of each layer before its backward pass."""
        self._hook("before_backward", hook)

    def after_backward(self, hook: Hook) -> None:
        """Call `hook` with the number of each layer after its backward pass."""
        self._hook("after_backward", hook)

    def _hook(self, name: str, hook: Hook) -> None:
        hooks = self.handle.called.setdefault(name, [])
        if not hooks:
            self.handle.net("hook", name=name)
        hooks.append(hook)

    def _no_diffs(self, write_diff: bool, caller: str) -> None:
        if write_diff:
            raise ValueError(
                f"{caller}: pycaffe's takes no write_diff; leave it out, or save with another "
                f"engine"
            )
