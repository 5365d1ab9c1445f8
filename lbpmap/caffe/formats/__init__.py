"""Caffe's files: text and binary, both ways; old ones are brought to the newest form on reading."""
