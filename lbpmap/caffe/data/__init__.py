"""What Caffe's data layers read: databases, lists of pictures, HDF5 files, arrays of the user.

Each kind is a source: it knows the shapes of its layer's tops before it is read, and fills them
with the next batch. `write_lmdb` and `read_lmdb` are for users: they make and list a database.
"""

from __future__ import annotations

from lbpmap.caffe.formats.database import read_lmdb, write_lmdb

__all__ = ["read_lmdb", "write_lmdb"]
