"""From files to a table beside the bare net: what reading, mapping and writing cost on top.

    python -m pytest benchmarks/bench_predict.py -s                      as CI runs it
    LBPMAP_BENCH=full python -m pytest benchmarks/bench_predict.py -s    batches of 32, more turns

The released layout with random weights looks at JPEG files of 143 x 181, the size of the authors'
crops, a batch at a time. The bare net is shown as many such blobs that lie in memory. The two take
turns; the median of the turns' ratios says how much of the net's throughput is left. Each row of
the table is checked against the bare net's answer.
"""

from __future__ import annotations

import csv
import os
import statistics
import time

import numpy as np
import pytest
from PIL import Image

from lbpmap import caffe, caffe_blob, faces, pictures
from lbpmap.emotion import ensemble, registry, synthetic
from lbpmap.emotion.fusion import uniform
from lbpmap.predict import runs, sources
from lbpmap.predict.pipeline import Looks
from lbpmap.predict.tables import Shape

FULL = os.environ.get("LBPMAP_BENCH") == "full"
PICTURES, BATCH, TURNS = (160, 32, 7) if FULL else (16, 8, 1)
NAME = "bench_cyclic_lbp"


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """Load the released layout; its random scores are some units apart, as a trained net's are."""
    folder = tmp_path_factory.mktemp("nets") / NAME
    folder.mkdir()
    released = registry.packaged_folder() / "VGG_S_cyclic_lbp"
    (folder / "model.toml").write_bytes((released / "model.toml").read_bytes())
    model, weights = folder / "deploy.prototxt", folder / "EmotiW_VGG_S.caffemodel"
    model.write_bytes((released / "deploy.prototxt").read_bytes())
    synthetic.write_random_weights(model, weights)
    bare = caffe.Net(str(model), str(weights), caffe.TEST)
    bare.params["fc8_cat"][0].data[...] *= np.float32(0.01)
    bare.save(str(weights))
    mean = caffe.io.array_to_blobproto(np.full((1, 3, 256, 256), 120.0))
    (folder / "mean.binaryproto").write_bytes(mean.SerializeToString())
    yield ensemble.load_net(registry.net_in(folder))
    weights.unlink()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write smooth pictures, whose JPEGs are as large as those of faces."""
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for k in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 19, 3), np.uint8))
        coarse.resize((143, 181), Image.BICUBIC).save(folder / f"{k:03}.jpg", quality=92)
    return sources.paths([str(folder)])


def test_throughput_beside_the_bare_net(benchmark, net, files, tmp_path):
    shown = [pictures.read(path) for path in files[:BATCH]]
    blob = caffe_blob(shown, net.files.representation, mean=net.mean)
    looks = Looks([net], uniform([NAME], net.files.labels), faces.load("none"), batch=BATCH)
    made_with = runs.settings(looks, every=0)

    def bare():
        for _ in range(PICTURES // BATCH):
            said = ensemble.probabilities(net, blob)
        return said

    def whole():
        out = tmp_path / "faces.csv"
        runs.into_files(
            lambda done: sources.items(files, done=done), looks, made_with, [out], Shape()
        )
        return out

    times = {bare: [], whole: []}
    whole()  # pages and caches of the first call
    for _ in range(TURNS):
        for run in times:
            start = time.perf_counter()
            run()
            times[run].append(time.perf_counter() - start)
    bare_s, whole_s = (statistics.median(each) for each in times.values())
    kept = statistics.median(b / w for b, w in zip(*times.values()))
    benchmark.extra_info.update(seconds={"bare": bare_s, "whole": whole_s}, kept=kept)
    print(
        f"\n{PICTURES} JPEG files of 143 x 181 to a table: {PICTURES / whole_s:.1f} a second, the "
        f"bare net {PICTURES / bare_s:.1f}: {kept:.3f} of its throughput"
    )
    with open(whole(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == files
    got = [[float(row[label]) for label in net.files.labels] for row in rows[:BATCH]]
    np.testing.assert_allclose(got, bare(), atol=1e-6)
    benchmark.pedantic(whole, rounds=1)
