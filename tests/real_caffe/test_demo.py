"""The demo notebook on a full-size net: in pycaffe itself, by its engine here, and by our own."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import lbpmap
from lbpmap import caffe, cli, mapped_lbp, pictures
from lbpmap.caffe import engine
from lbpmap.caffe.formats.weights import read_blob
from lbpmap.emotion import registry, synthetic

pytestmark = [pytest.mark.real_caffe, pytest.mark.slow]

NOTEBOOK = Path(__file__).with_name("notebook.py")
REPRESENTATIONS = ("rgb", "lbp", "cyclic_lbp_10")
FACE = (slice(40, 200), slice(54, 198))
# Unpacks the files, runs the notebook with pycaffe mended, and hands back what it found.
ON_PYCAFFE = """
import os, runpy, sys, tarfile, tempfile
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    sys.path.insert(0, folder)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as files:
        files.extractall()
    import caffe, worker
    worker.mend(caffe)
    runpy.run_path("notebook.py")
    with open("found.npz", "rb") as found:
        sys.stdout.buffer.write(found.read())
    os.chdir("/")
"""


@pytest.fixture(scope="module")
def command():
    """Give the command of a Python that has real Caffe."""
    if os.name != "posix":
        pytest.skip("real Caffe needs Linux or macOS")
    from lbpmap.caffe.real import link

    if not os.environ.get(link.VARIABLE):
        pytest.skip(f"no real Caffe to compare with (set {link.VARIABLE})")
    try:
        return link.current().command
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a folder with the net, its mean, and a face in three representations."""
    there = tmp_path_factory.mktemp("models") / "VGG_S_rgb"
    there.mkdir()
    deploy = registry.packaged_folder() / "VGG_S_rgb" / "deploy.prototxt"
    (there / "deploy.prototxt").write_text(deploy.read_text())
    weights = there / "EmotiW_VGG_S.caffemodel"
    synthetic.write_random_weights(deploy, weights, seed=4)
    net = caffe.Net(deploy, weights, caffe.TEST)
    net.params["fc8_cat"][0].data[...] *= 0.005  # else one label gets all of the probability
    net.save(weights)
    rows, columns = np.mgrid[:224, :224].astype(np.float32)
    # As large as the crop: pycaffe 1.0 takes no other.
    mean = np.stack([110 + rows / 20, 100 + columns / 20, 90 + (rows - columns) / 30])
    blob = caffe.io.array_to_blobproto(mean[np.newaxis])
    (there / "mean.binaryproto").write_bytes(blob.SerializeToString())
    face = pictures.read(Path(lbpmap.__file__).parent / "astronaut.png")[FACE]
    for name in REPRESENTATIONS:
        pictures.write_png(there / f"{name}.png", mapped_lbp(face, name))
    return there


@pytest.fixture(scope="module")
def on_pycaffe(command, folder, tmp_path_factory):
    """Run the notebook as it is where Caffe is, perhaps in another root; give what it found."""
    from lbpmap.caffe.real import worker

    there = tmp_path_factory.mktemp("pycaffe")
    paths = [*folder.iterdir(), NOTEBOOK, Path(worker.__file__)]
    with open(there / "files.tar", "wb") as packed, tarfile.open(fileobj=packed, mode="w") as files:
        for path in paths:
            files.add(path, path.name)
    call = [*command, "-c", ON_PYCAFFE, *REPRESENTATIONS]
    with (
        open(there / "files.tar", "rb") as packed,
        open(there / "found.npz", "wb") as found,
        open(there / "log", "w") as log,
    ):
        done = subprocess.run(call, stdin=packed, stdout=found, stderr=log)
    (there / "files.tar").unlink()
    assert done.returncode == 0, (there / "log").read_text()[-2000:]
    return dict(np.load(there / "found.npz"))


def test_the_notebook_needs_no_more_than_another_import():
    text = NOTEBOOK.read_text()
    assert text.count("import caffe\n") == 1
    assert "lbpmap" not in text


@pytest.mark.parametrize("name", ["numpy", "torch", "real"])
def test_the_notebook(folder, on_pycaffe, tmp_path, monkeypatch, name):
    if name == "torch":
        pytest.importorskip("torch")
    monkeypatch.chdir(folder)
    script = tmp_path / "notebook.py"
    script.write_text(NOTEBOOK.read_text().replace("import caffe\n", "from lbpmap import caffe\n"))
    monkeypatch.setattr(sys, "argv", ["notebook.py", *REPRESENTATIONS])
    with engine.using(name):
        runpy.run_path(str(script))
    found = dict(np.load("found.npz"))
    Path("found.npz").unlink()
    assert list(found) == list(on_pycaffe)
    for key, expected in on_pycaffe.items():
        if expected.dtype.kind != "f":
            assert (found[key] == expected).all(), key
            continue
        # Predictions are probabilities, and drawings go from 0 to 1.
        bound = 1e-6 if key.endswith("prediction") else 1e-5
        assert found[key].shape == expected.shape, key
        assert np.abs(found[key] - expected).max() <= bound, key
    predictions = np.concatenate([found[f"{each} prediction"] for each in REPRESENTATIONS])
    assert np.abs(np.diff(predictions, axis=0)).max(axis=1).min() > 1e-3  # three, not one


def test_the_command_says_the_same_by_either_engine(command, folder, tmp_path, capsys):
    assert read_blob(folder / "mean.binaryproto").shape[-3:] == (3, 224, 224)
    mean = np.full((1, 3, 256, 256), 100, np.float32)
    models = tmp_path / "models" / "mine"  # random weights have another size than the released
    models.mkdir(parents=True)
    about = (registry.packaged_folder() / "VGG_S_rgb" / "model.toml").read_text()
    about = about.replace('"VGG_S_rgb"', '"mine"')
    (models / "model.toml").write_text(about)
    for each in ("deploy.prototxt", "labels.txt"):
        shutil.copy(registry.packaged_folder() / "VGG_S_rgb" / each, models)
    (models / "EmotiW_VGG_S.caffemodel").symlink_to(folder / "EmotiW_VGG_S.caffemodel")
    blob = caffe.io.array_to_blobproto(mean)
    (models / "mean.binaryproto").write_bytes(blob.SerializeToString())
    said = []
    for name in ("numpy", "real"):
        arguments = ["--models", str(models.parent), "--engine", name, "--json", "-q"]
        arguments += ["--crops", "10"]
        assert cli.main(["predict", str(folder / "rgb.png"), *arguments]) == 0
        said.append(json.loads(capsys.readouterr().out)["probabilities"])
    ours, real = said
    assert ours.keys() == real.keys()
    assert max(abs(ours[label] - real[label]) for label in ours) <= 1e-6
