"""Many inputs to a table of faces: pictures and frames in, a record each out, and what people read.

`records` is what is known of an input; `sources` lists inputs; `pipeline` shows them to a detector
and nets; `journal` keeps records as they come, so that a run that was broken off goes on; `tables`
and `html` write what people read.
"""
