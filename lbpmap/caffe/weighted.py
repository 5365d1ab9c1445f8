"""What a net's parameters can do as pycaffe shows it: be taken from files, shared, and written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from lbpmap.caffe import parameters
from lbpmap.caffe.blob import Blob
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.parameters import PathLike, check_path


class Weighted:
    """Layers with parameters; `Net` is one."""

    name: str
    layers: list[Layer]
    layer_dict: OrderedDict[str, Layer]
    params: OrderedDict[str, list[Blob]]
    _source: str

    def copy_from(self, files: PathLike | Sequence[PathLike]) -> None:
        """Take the weights of one or more caffemodels, layer by layer name.

        Layers that the net lacks are passed over, and parameters that no file holds stay: see
        `unfilled_layers`. All shapes are checked before anything is changed.

        Parameters
        ----------
        files : str or path, or a sequence of them
            A string may hold several names with commas between them.

        Raises
        ------
        OSError
            When a file cannot be read.
        TypeError
            When `files` is no name and no sequence of names.
        ValueError
            When a file is malformed, or a blob's shape is not that of the net's parameter.
        """
        parameters.read(parameters.file_names(files, "Net.copy_from"), self.layers)

    def unfilled_layers(self) -> list[str]:
        """Name the layers whose parameters no file has filled; an addition to pycaffe.

        A layer that no file holds keeps what its fillers gave it: where a trained net is wanted,
        its results mean nothing.

        Returns
        -------
        list of str
            In the order of the net. A layer counts as filled when each of its parameters was taken
            from a file by `copy_from`, or is shared with one that was; values that were written
            into ``params`` by hand do not count.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from lbpmap.caffe import TEST, Net
        >>> text = '''
        ... layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
        ... layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        ...   inner_product_param { num_output: 2 } }'''
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "tiny.prototxt"
        ...     _ = path.write_text(text)
        ...     net = Net(path, TEST)
        >>> net.unfilled_layers()
        ['ip']
        """
        return [
            name
            for name, blobs in self.params.items()
            if not all(blob.values.from_file for blob in blobs)
        ]

    def share_with(self, other: Weighted) -> None:
        """Use the parameters of another net's layers of the same names: one memory for both.

        Layers that this net lacks are passed over. All shapes are checked before anything is
        changed.

        Parameters
        ----------
        other : Net

        Raises
        ------
        TypeError
            When `other` is no net.
        ValueError
            When a layer of both nets has other parameters here than there.
        """
        if not isinstance(other, Weighted):
            raise TypeError(f"Net.share_with: other must be a Net, got {type(other).__name__}")
        parameters.share(self.layers, other.layer_dict, self._source, other._source)

    def clear_param_diffs(self) -> None:
        """Set the gradients of all parameters to zero."""
        for blobs in self.params.values():
            for blob in blobs:
                blob.gradients.clear()

    def save(self, path: PathLike, write_diff: bool = False) -> None:
        """Write a caffemodel in the newest form, which Caffe loads; whole or not at all.

        Parameters
        ----------
        path : str or path
            The file to write; its folder must exist.
        write_diff : bool, default False
            Whether to write the gradients too.

        Raises
        ------
        OSError
            When the file cannot be written; an old one stays as it was.
        TypeError, ValueError
            When `path` is no path, or empty.
        """
        check_path("Net.save: path", path, "the caffemodel to write")
        parameters.write(path, self.name, self.layers, write_diff)

    def save_hdf5(self, path: PathLike, write_diff: bool = False) -> None:
        """Write the parameters in HDF5, as Caffe does; see `save`.

        Caffe, and `copy_from`, tell such a file by a name that ends in ``.h5``.

        Raises
        ------
        OSError, TypeError, ValueError
            As `save`.
        RuntimeError
            When h5py is missing.
        """
        check_path("Net.save_hdf5: path", path, "the HDF5 file to write")
        parameters.write_hdf5(path, self.layers, write_diff)

    def load_hdf5(self, path: PathLike) -> None:
        """Take the weights of an HDF5 file, whatever its name; see `copy_from`."""
        check_path("Net.load_hdf5: path", path, "a caffemodel in HDF5")
        parameters.read_hdf5(path, self.layers)
