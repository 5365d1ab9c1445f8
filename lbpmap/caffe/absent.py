"""What pycaffe has and this package has not: asked for by name, it is named in the error."""

from __future__ import annotations

# Each with what to do instead.
MODULE = {"NCCL": "several GPUs cannot train one net here; leave it out and train on one"}


def error(name: str) -> AttributeError:
    """Return the error for an attribute that `caffe` has not.

    Examples
    --------
    >>> error("NCCL")  # doctest: +ELLIPSIS
    AttributeError('caffe.NCCL is not in lbpmap: several GPUs cannot train one net here; ...')
    """
    if name in MODULE:
        return AttributeError(f"caffe.{name} is not in lbpmap: {MODULE[name]}")
    return AttributeError(f"caffe has no attribute {name!r}")
