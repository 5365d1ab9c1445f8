"""Mapped binary patterns of face pictures, and the Caffe nets that read them.

The front door is `lbpmap.transform`, re-exported here: arrays in, arrays out, nothing imported but
NumPy. `lbpmap.pictures` reads files, `lbpmap.caffe` runs Caffe nets with pycaffe's own interface,
`lbpmap.emotion` puts them together, and the command ``lbpmap`` does it on files.
"""

from typing import TYPE_CHECKING, Any

from lbpmap._version import __version__
from lbpmap.transform import (
    REPRESENTATIONS,
    Representation,
    Table,
    build_info,
    caffe_blob,
    lbp_codes,
    load_table,
    map_codes,
    mapped_lbp,
    mapped_planes,
    to_gray,
    use_isa,
)

if TYPE_CHECKING:
    from lbpmap.embedding import embed_codes

__all__ = [
    "REPRESENTATIONS",
    "Representation",
    "Table",
    "__version__",
    "build_info",
    "caffe_blob",
    "embed_codes",
    "lbp_codes",
    "load_table",
    "map_codes",
    "mapped_lbp",
    "mapped_planes",
    "to_gray",
    "use_isa",
]


def __getattr__(name: str) -> Any:
    # `lbpmap.embedding` brings scipy and scikit-learn, which nothing else here needs.
    if name == "embed_codes":
        from lbpmap.embedding import embed_codes

        return embed_codes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
