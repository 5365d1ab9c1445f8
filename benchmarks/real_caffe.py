"""Time real Caffe in a process of its own; sent whole to another Python, it needs NumPy and Caffe.

Each line on standard input is a command in JSON, followed by `bytes` bytes; each answer is a line
of JSON, followed by as many bytes as its own `bytes` says. Files live in a temporary folder, so
that the other Python may run in another root.
"""

import json
import os
import sys
import tempfile
import time


def main():
    """Answer commands until the input ends."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        answers, commands = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
        os.dup2(2, 1)  # whatever else prints
        os.environ.update(GLOG_minloglevel="2")
        import caffe
        import numpy as np

        held = {}

        def floats(payload, shape):
            return np.frombuffer(payload, np.float32).reshape(shape)

        def net(model, weights, shape):
            held["net"] = caffe.Net(model, weights, caffe.TEST)
            held["net"].blobs["data"].reshape(*shape)

        def fill(payload, shape):
            held["net"].blobs["data"].reshape(*shape)
            held["net"].blobs["data"].data[...] = floats(payload, shape)

        def solver(model, weights):
            held["solver"] = caffe.get_solver(model)
            held["solver"].net.copy_from(weights)

        def fill_solver(payload, shape, labels):
            held["solver"].net.blobs["data"].data[...] = floats(payload, shape)
            held["solver"].net.blobs["label"].data[...] = labels

        def timed(call):
            start = time.perf_counter()
            call()
            return {"seconds": time.perf_counter() - start}

        for line in commands:
            given = json.loads(line)
            payload = commands.read(given.get("bytes", 0))
            found, values = {}, b""
            if given["do"] == "file":
                with open(given["name"], "wb") as file:
                    file.write(payload)
            elif given["do"] == "net":
                net(given["model"], given["weights"], given["shape"])
            elif given["do"] == "fill":
                fill(payload, given["shape"])
            elif given["do"] == "forward":
                found = timed(held["net"].forward)
            elif given["do"] == "blob":
                values = held["net"].blobs[given["name"]].data.tobytes()
            elif given["do"] == "solver":
                solver(given["model"], given["weights"])
            elif given["do"] == "fill solver":
                fill_solver(payload, given["shape"], given["labels"])
            elif given["do"] == "step":
                found = timed(lambda: held["solver"].step(1))
            answers.write(json.dumps(dict(found, bytes=len(values))).encode() + b"\n" + values)
            answers.flush()


if __name__ == "__main__":
    main()
