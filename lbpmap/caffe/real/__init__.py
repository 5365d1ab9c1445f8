"""The real Caffe as an engine: in a process of its own, its arrays in memory shared with this one.

`worker` is what runs there, by any Python that has Caffe; `link` starts it and speaks with it;
`shared` keeps the arrays that were handed out; `net` and `solver` show it as pycaffe does.
"""
