"""Types of arrays, for annotations alone.

`numpy.typing` is younger than the oldest NumPy that the package runs on, so that at run time these
names stand for nothing in particular.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike as ArrayLike
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Bool = NDArray[np.bool_]
    U8 = NDArray[np.uint8]
    U16 = NDArray[np.uint16]
    I32 = NDArray[np.int32]
    I64 = NDArray[np.int64]
    F32 = NDArray[np.float32]
    F64 = NDArray[np.float64]
else:
    Array = ArrayLike = Bool = U8 = U16 = I32 = I64 = F32 = F64 = Any
