"""Pictures and rows: what the scikit-learn transformers take, and the tags that say so."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin  # type: ignore[import-untyped]

from lbpmap import _checks
from lbpmap._arrays import U8, Array


class OfPictures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What both transformers have in common."""

    image_shape: tuple[int, ...] | None

    def _pictures(self, X: Any, *, reset: bool) -> Any:
        """Give the pictures of `X`: an array (N, H, W[, 3]) or a list."""
        name = type(self).__name__
        is_list = isinstance(X, (list, tuple)) and all(
            isinstance(item, np.ndarray) and item.ndim > 1 for item in X
        )
        if (is_list and X) or (isinstance(X, np.ndarray) and X.ndim > 2):
            if reset:
                for of_rows in ("n_features_in_", "feature_names_in_"):
                    self.__dict__.pop(of_rows, None)
            if _checks.pictures(X, name).form == "one":
                raise ValueError(
                    f"{name}: expected a batch of pictures, got one, of shape {X.shape}; "
                    f"use image[None]"
                )
            if not len(X):
                raise ValueError(f"{name}: 0 pictures (an array of shape {X.shape})")
            return X
        return self._of_rows(_validated(self, X, reset))

    def _of_rows(self, rows: Array) -> U8:
        """Turn numbers (N, H * W) into pictures."""
        name = type(self).__name__
        shape = self._row_shape(rows.shape[1])
        if rows.dtype != np.uint8:
            wrong = (rows < 0) | (rows > 255) | (rows != np.rint(rows))
            if wrong.any():
                row, column = np.argwhere(wrong)[0]
                raise ValueError(
                    f"{name}: rows must hold whole numbers 0 to 255, got {rows[row, column]} in "
                    f"row {row}, column {column}; np.rint(255 * X) makes them of values 0 to 1"
                )
        return rows.astype(np.uint8).reshape(len(rows), *shape)

    def _row_shape(self, pixels: int) -> tuple[int, ...]:
        name = type(self).__name__
        if self.image_shape is None:
            side = round(pixels**0.5)
            if side * side != pixels:
                raise ValueError(
                    f"{name}: rows of {pixels} columns are no square pictures; pass "
                    f"image_shape=(H, W)"
                )
            return side, side
        if not isinstance(self.image_shape, (tuple, list)):
            raise TypeError(
                f"{name}: image_shape must be (H, W) or (H, W, 3), got {self.image_shape!r}"
            )
        shape = tuple(
            _checks.positive(length, "each length in image_shape", name)
            for length in self.image_shape
        )
        if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)):
            raise ValueError(f"{name}: image_shape must be (H, W) or (H, W, 3), got {shape}")
        if np.prod(shape) != pixels:
            raise ValueError(
                f"{name}: rows have {pixels} columns, but image_shape {shape} has "
                f"{np.prod(shape)} values"
            )
        return shape

    def _more_tags(self) -> dict[str, Any]:  # before scikit-learn 1.6
        return {"requires_fit": False, "stateless": True, "X_types": ["2darray", "3darray"]}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.three_d_array = True
        return tags


def _validated(estimator: Any, X: Any, reset: bool) -> Array:
    """Check 2-D data as this version of scikit-learn does it."""
    try:
        from sklearn.utils.validation import (  # type: ignore[import-untyped]
            validate_data,
        )
    except ImportError:  # before 1.6
        rows: Array = estimator._validate_data(X, reset=reset)
    else:
        rows = validate_data(estimator, X, reset=reset)
    return rows
