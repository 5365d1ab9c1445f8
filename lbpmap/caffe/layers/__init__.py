"""Layer types as tables: what shapes come out, and how they are computed.

As pycaffe's `caffe.layers`, the package also writes nets: ``L.Convolution(...)``, see
`lbpmap.caffe.net_spec`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Python asks here for modules, too, before it imports them: layer types are capitalised.
    if not name[:1].isupper():
        raise AttributeError(f"caffe.layers has no attribute {name!r}")
    from lbpmap.caffe import net_spec

    return net_spec.layer_function(name)
