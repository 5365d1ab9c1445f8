"""Mapped binary patterns of face pictures, and the Caffe nets that read them.

The front door is `lbpmap.transform`, re-exported here: arrays in, arrays out, nothing imported but
NumPy. `lbpmap.pictures` reads files, `lbpmap.caffe` runs Caffe nets with pycaffe's own interface,
`lbpmap.emotion` puts them together, and the command ``lbpmap`` does it on files.
"""

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
    to_gray,
    use_isa,
)

__all__ = [
    "REPRESENTATIONS",
    "Representation",
    "Table",
    "__version__",
    "build_info",
    "caffe_blob",
    "lbp_codes",
    "load_table",
    "map_codes",
    "mapped_lbp",
    "to_gray",
    "use_isa",
]
