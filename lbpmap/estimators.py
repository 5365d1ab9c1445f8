"""Scikit-learn transformers: pictures in, mapped pictures or histograms of codes out.

Importing this module imports scikit-learn; ``import lbpmap`` does not.

Pictures come in two ways.

*As pictures*: uint8 arrays (N, H, W) or (N, H, W, 3), or a list of such pictures, of any sizes.

*As rows*, what scikit-learn calls 2-D data: (N, H * W), numbers or a data frame, one picture a row,
read row by row. The parameter `image_shape` says which shape a row has; without it rows are square
grey pictures. Rows may have any number type, but hold whole numbers 0 to 255: which bits are 1
hangs on the rounding to 8 bits, so that it is the caller's to do. What scikit-learn
keeps of 2-D data (``n_features_in_``, ``feature_names_in_``, their checks) is kept of rows alone.

Neither transformer learns anything: `fit` checks, and `transform` may be called without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lbpmap import _checks, _isa, _kernels, _mapping
from lbpmap._arrays import F64, U8, Array
from lbpmap._bins import BINS, bin_labels, bin_table
from lbpmap._rows import OfPictures
from lbpmap.representations import AnyRepresentation, resolve
from lbpmap.tables import ARITHMETICS, MAX_POINTS
from lbpmap.transform import lbp_codes, mapped_lbp

__all__ = ["LBPHistogram", "MappedLBP"]


class LBPHistogram(OfPictures):
    """Histograms of local binary patterns, one for each cell of a grid.

    Parameters
    ----------
    radius : int, default 1
        Of the circle, in pixels.
    points : int, default 8
        Bits of a code, 1 to 16.
    neighborhood : {"circular", "square"}
        As for `lbpmap.lbp_codes`.
    arithmetic : {"exact", "released"}
        As for `lbpmap.lbp_codes`.
    bins : {"all", "uniform", "rotation", "uniform_rotation"}
        Which codes are counted together, for P points:

        - "all": none; 2**P bins.
        - "uniform": codes with more than two changes between 0 and 1 around the circle share the
          last bin; P (P - 1) + 3 bins, 59 for 8 points (the LBP^u2 of the papers).
        - "rotation": codes that are rotations of each other; 36 bins for 8 points (LBP^ri).
        - "uniform_rotation": uniform codes by their number of ones, all others in the last bin;
          P + 2 bins (LBP^riu2).
    grid : (int, int), default (1, 1)
        Rows and columns of cells. Cell i of n along a side of L codes holds the codes L * i // n
        up to L * (i + 1) // n: cells differ by at most one code a side.
    normalize : {"l1", "sqrt", None}
        "l1": each cell sums to 1. "sqrt": the square root of that, so that a linear classifier
        compares cells by the Hellinger kernel. None: counts.
    image_shape : (int, int) or (int, int, 3), optional
        Shape of the pictures in 2-D input; by default rows are square grey pictures.
    threads : int, default 1
        Threads to use, over pictures.

    Attributes
    ----------
    n_features_in_ : int
        Columns seen in `fit`; only after 2-D input.
    feature_names_in_ : array of str
        Names of these columns, where they have some.

    Notes
    -----
    Input and output: see `fit`. The order of the output is cell by cell, row by row, and bin by bin
    within. No state is learned, so that pictures may be of other sizes in `transform` than in
    `fit`, and of different sizes in one list.

    scikit-learn's ``check_estimator`` feeds normal deviates in 1 to 10 columns. Those are no
    pictures, and checks that fit such data end in this class's error; with rows made into
    pictures first, all checks pass (the package's tests do both).

    References
    ----------
    T. Ojala, M. Pietikainen and T. Maenpaa, "Multiresolution gray-scale and rotation invariant
    texture classification with local binary patterns", PAMI 24(7), 2002 (the bins).
    T. Ahonen, A. Hadid and M. Pietikainen, "Face description with local binary patterns:
    application to face recognition", PAMI 28(12), 2006 (the grid).

    Examples
    --------
    >>> faces = np.random.default_rng(0).integers(0, 256, (10, 25, 25), np.uint8)
    >>> LBPHistogram(bins="uniform", grid=(3, 3)).fit_transform(faces).shape
    (10, 531)
    """

    def __init__(
        self,
        radius: int = 1,
        points: int = 8,
        *,
        neighborhood: str = "circular",
        arithmetic: str = "exact",
        bins: str = "all",
        grid: tuple[int, int] = (1, 1),
        normalize: str | None = "l1",
        image_shape: tuple[int, ...] | None = None,
        threads: int = 1,
    ) -> None:
        self.radius = radius
        self.points = points
        self.neighborhood = neighborhood
        self.arithmetic = arithmetic
        self.bins = bins
        self.grid = grid
        self.normalize = normalize
        self.image_shape = image_shape
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> LBPHistogram:
        """Check the parameters and the pictures.

        Parameters
        ----------
        X : uint8 array (N, H, W) or (N, H, W, 3), list of pictures, or 2-D data (N, H * W)
            2-D data are whole numbers 0 to 255.
        y : ignored

        Returns
        -------
        LBPHistogram
            Itself.

        Raises
        ------
        TypeError, ValueError
            When a parameter or a picture is not as described, or a picture has fewer codes than
            the grid has cells along a side.
        """
        self._sources(self._pictures(X, reset=True))
        return self

    def transform(self, X: Any) -> Any:
        """Count the codes of every picture.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        float64 array (N, rows * columns * bins)
            Or the container that ``set_output`` asked for.

        Raises
        ------
        TypeError, ValueError
            As `fit`; and when 2-D data have another number of columns than in `fit`.
        """
        sources = self._sources(self._pictures(X, reset=False))
        bin_of_code, bins = bin_table(self.bins, self.points)
        counts = np.empty((len(sources), *self.grid, bins), np.uint32)
        isa = _isa.chosen()
        kernel: Callable[..., None] = (
            _kernels.histogram if self.points <= 8 else _kernels.histogram16
        )

        def count(picture: U8, cells: Array) -> None:
            codes = lbp_codes(
                picture,
                self.radius,
                points=self.points,
                neighborhood=self.neighborhood,
                arithmetic=self.arithmetic,
            )
            kernel(isa, codes, bin_of_code, cells)

        _mapping.run(count, sources, list(counts), margin=None, threads=self.threads)
        features: F64 = counts.astype(np.float64)
        if self.normalize is not None:
            features /= features.sum(axis=-1, keepdims=True)
        if self.normalize == "sqrt":
            np.sqrt(features, out=features)
        return features.reshape(len(sources), -1)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Name the columns: the cell's row and column, and the bin.

        Parameters
        ----------
        input_features : ignored
            The columns that come out do not depend on those that went in.

        Returns
        -------
        array of str

        Examples
        --------
        >>> LBPHistogram(bins="uniform_rotation").get_feature_names_out()[[0, -1]].tolist()
        ['cell_0_0_ones_0', 'cell_0_0_other']
        """
        self._checked()
        rows, columns = self.grid
        names = [
            f"cell_{row}_{column}_{label}"
            for row in range(rows)
            for column in range(columns)
            for label in bin_labels(self.bins, self.points)
        ]
        return np.array(names, dtype=object)

    def _checked(self) -> None:
        name = "LBPHistogram"
        for argument in ("radius", "points", "threads"):
            _checks.positive(getattr(self, argument), argument, name)
        if self.points > MAX_POINTS:
            raise ValueError(f"{name}: points must be 1 to {MAX_POINTS}, got {self.points}")
        _checks.one_of(self.neighborhood, ("circular", "square"), "neighborhood", name)
        _checks.one_of(self.arithmetic, ARITHMETICS, "arithmetic", name)
        if self.neighborhood == "square" and self.points != 8:
            raise ValueError(
                f'{name}: neighborhood "square" has 8 points, got points={self.points}'
            )
        if not isinstance(self.grid, (tuple, list)) or len(self.grid) != 2:
            raise ValueError(f"{name}: grid must be (rows, columns), got {self.grid!r}")
        for cells in self.grid:
            _checks.positive(cells, "each number in grid", name)
        _checks.one_of(self.bins, BINS, "bins", name)
        _checks.one_of(self.normalize, ("l1", "sqrt", None), "normalize", name)

    def _sources(self, pictures: Any) -> list[U8]:
        self._checked()
        name = "LBPHistogram"
        source = _checks.pictures(pictures, name)
        shape = _checks.interior(self.radius, name)
        for i, size in enumerate(source.sizes):
            which = f"picture {i}" if source.form == "list" else "each picture"
            codes = shape(size, which)
            if codes[0] < self.grid[0] or codes[1] < self.grid[1]:
                raise ValueError(
                    f"{name}: {which} has {codes[0]} x {codes[1]} codes (H x W), too few for a "
                    f"grid of {self.grid[0]} x {self.grid[1]} cells"
                )
        return source.items


class MappedLBP(OfPictures):
    """Mapped binary patterns, as pictures or as features.

    Parameters
    ----------
    representation : str, path, Table or Representation, default "cyclic_lbp"
        As for `lbpmap.mapped_lbp`.
    code_255 : {"released", "own"}
        As for `lbpmap.mapped_lbp`.
    flatten : bool, default False
        Give one row of features a picture instead of pictures; all must then have one size.
    image_shape : (int, int) or (int, int, 3), optional
        Shape of the pictures in 2-D input; by default rows are square grey pictures.
    threads : int, default 1
        Threads to use, over pictures.

    Attributes
    ----------
    mapped_shape_ : (int, int, 3)
        Shape of the mapped pictures seen in `fit`; only with `flatten`.
    n_features_in_ : int
        Columns seen in `fit`; only after 2-D input.
    feature_names_in_ : array of str
        Names of these columns, where they have some.

    Notes
    -----
    Pictures have no columns to name: without `flatten` there are no ``get_feature_names_out`` and
    no ``set_output``.

    scikit-learn's ``check_estimator`` feeds normal deviates in 1 to 10 columns. Those are no
    pictures, and checks that fit such data end in this class's error; with rows made into
    pictures first, and `flatten`, all checks pass (the package's tests do both).

    References
    ----------
    G. Levi and T. Hassner, "Emotion Recognition in the Wild via Convolutional Neural Networks and
    Mapped Binary Patterns", ICMI 2015.

    Examples
    --------
    >>> faces = np.random.default_rng(0).integers(0, 256, (10, 25, 25), np.uint8)
    >>> MappedLBP().fit_transform(faces).shape
    (10, 23, 23, 3)
    >>> MappedLBP(flatten=True).fit_transform(faces).shape
    (10, 1587)
    """

    def __init__(
        self,
        representation: AnyRepresentation = "cyclic_lbp",
        *,
        code_255: str = "released",
        flatten: bool = False,
        image_shape: tuple[int, ...] | None = None,
        threads: int = 1,
    ) -> None:
        self.representation = representation
        self.code_255 = code_255
        self.flatten = flatten
        self.image_shape = image_shape
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> MappedLBP:
        """Check the parameters and the pictures.

        Parameters
        ----------
        X : uint8 array (N, H, W) or (N, H, W, 3), list of pictures, or 2-D data (N, H * W)
            2-D data are whole numbers 0 to 255.
        y : ignored

        Returns
        -------
        MappedLBP
            Itself.

        Raises
        ------
        TypeError, ValueError, OSError
            When a parameter or a picture is not as described, or pictures to be flattened have
            different sizes.
        """
        self.__dict__.pop("mapped_shape_", None)
        shape = self._shape(self._pictures(X, reset=True))
        if shape is not None:
            self.mapped_shape_ = shape
        return self

    def transform(self, X: Any) -> Any:
        """Map every picture.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        uint8 array (N, H - 2R, W - 2R, 3), or a list of pictures for a list
            With `flatten`, a float64 array (N, (H - 2R) * (W - 2R) * 3) of whole numbers 0 to 255,
            or the container that ``set_output`` asked for.

        Raises
        ------
        TypeError, ValueError, OSError
            As `fit`; and when pictures to be flattened have another size than in `fit`.
        """
        pictures = self._pictures(X, reset=False)
        shape = self._shape(pictures)
        if shape is not None and shape != getattr(self, "mapped_shape_", shape):
            raise ValueError(
                f"MappedLBP: pictures would become {shape}, but fit saw {self.mapped_shape_}"
            )
        mapped = mapped_lbp(
            pictures, self.representation, code_255=self.code_255, threads=self.threads
        )
        return np.array(mapped, np.float64).reshape(len(mapped), -1) if self.flatten else mapped

    @property
    def get_feature_names_out(self) -> Callable[..., Array]:
        """Name the columns after the pixel's row, its column and the dimension; with `flatten`.

        Called with anything or nothing, it gives an array of str, such as 'dim1_0_0', 'dim2_0_0'.
        """
        if not self.flatten:
            raise AttributeError("MappedLBP: only flatten=True gives columns, which have names")
        return self._feature_names

    def _feature_names(self, input_features: Any = None) -> Array:
        if not hasattr(self, "mapped_shape_"):
            raise ValueError("MappedLBP: call fit first; the pictures' size gives the names")
        height, width, dims = self.mapped_shape_
        names = [
            f"dim{dim + 1}_{y}_{x}"
            for y in range(height)
            for x in range(width)
            for dim in range(dims)
        ]
        return np.array(names, dtype=object)

    def _shape(self, pictures: Any) -> tuple[int, ...] | None:
        """Check all parameters; give the shape that all mapped pictures share, to flatten them."""
        name = "MappedLBP"
        _checks.positive(self.threads, "threads", name)
        _checks.one_of(self.code_255, ("released", "own"), "code_255", name)
        shape = _checks.interior(resolve(self.representation).radius, name, 3)
        source = _checks.pictures(pictures, name)
        shapes = {shape(size, f"picture {i}"): size for i, size in enumerate(source.sizes)}
        if not self.flatten:
            return None
        if len(shapes) > 1:
            first, second = list(shapes.values())[:2]
            raise ValueError(
                f"{name}: flatten needs pictures of one size, got {first} and {second}; resize "
                f"them, or take LBPHistogram, which needs none"
            )
        return next(iter(shapes))
