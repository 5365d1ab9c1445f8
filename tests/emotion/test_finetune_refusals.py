"""What goes wrong with a run is said, and costs little."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.formats.messages import NetParameter
from lbpmap.cli import main
from lbpmap.emotion import finetune, runs

torch = pytest.importorskip("torch", reason="training needs PyTorch")

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_device_that_is_not_there(new_run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for options, message in (
        ({"device": "gpu"}, "finds no GPU"),
        ({"device": "tpu"}, "device must be cpu, gpu or gpu:N, got 'tpu'"),
        ({"mixed_precision": True}, "mixed precision is for a GPU"),
    ):
        run = new_run(str(options), **options)
        with pytest.raises((ValueError, RuntimeError), match=message):
            finetune.train(run.folder)


def test_what_cannot_be_read_is_left_out(faces, source, tmp_path, capsys):
    (faces / "flat" / "flat3.png").write_bytes(b"no picture")
    asked = ["finetune", str(faces), "--from", str(source), "--scratch", "-o", str(tmp_path / "r")]
    code = main([*asked, "--max-iter", "2", "-q"])
    said = capsys.readouterr()
    assert code == 1
    assert "flat3.png: not a picture" in said.err
    assert "3 labels, 24 pictures in train" in said.out or "23 pictures in train" in said.out
    assert "flat3.png" not in (tmp_path / "r" / "data.csv").read_text()
    assert "the loader makes" in said.out


def test_a_label_with_one_picture(faces, source, tmp_path, capsys):
    for k in range(1, 10):
        (faces / "both" / f"both{k}.png").unlink()
    asked = ["finetune", str(faces), "--from", str(source), "--scratch", "-o", str(tmp_path / "r")]
    assert main([*asked, "--max-iter", "2", "-q"]) == 0
    assert "both has 1 picture, none of them to validate on" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_it(new_run):
    run = new_run(max_iter=300, snapshot_every=2, patience=0)
    finetune.train(run.folder, max_iter=4)
    text = runs.read_toml(run.folder / "run.toml")
    path = run.folder / "solver.prototxt"
    path.write_text(path.read_text().replace("base_lr: 0.002", "base_lr: 1e30"))
    with pytest.raises(finetune.Diverged, match=r"iteration \d+; stopped.*net_iter_4\.caffemodel"):
        finetune.train(run.folder)
    assert runs.read_toml(run.folder / "run.toml") == text
    assert runs.snapshots(run.folder) == [2, 4]
    net = caffe.Net(
        run.folder / "deploy.prototxt", str(runs.snapshot_files(run.folder, 4)[0]), caffe.TEST
    )
    assert all(np.isfinite(b.data).all() for blobs in net.params.values() for b in blobs)


def weights_of(layer, outputs):
    """Give a caffemodel that holds one convolution."""
    net = NetParameter(name="n")
    kept = net.layer.add(name=layer, type="Convolution")
    for shape in ((outputs, 3, 3, 3), (outputs,)):
        blob = kept.blobs.add(data=np.zeros(int(np.prod(shape))))
        blob.shape.dim.extend(shape)
    return net.SerializeToString()


def test_nothing_is_left_of_a_run_that_could_not_be_prepared(faces, source, tmp_path, capsys):
    asked = ["finetune", str(faces), "--from", str(source), "--scratch", "-o", str(tmp_path / "r")]
    assert main([*asked, "--freeze", "nothing"]) == 2
    assert "no layer nothing with weights" in capsys.readouterr().err
    assert main([*asked[:4], "-o", str(tmp_path / "r")]) == 2
    assert "no weights to start from" in capsys.readouterr().err
    assert main([*asked, "--solver-text", "base_rl: 1"]) == 2
    assert "base_lr" in capsys.readouterr().err
    given = [name for name in asked if name != "--scratch"]
    for content, message in (
        (b"no weights", "not a caffemodel"),
        (weights_of("other", 6), "has none of the layers conv, ip_ft1"),
        (weights_of("conv", 7), "conv"),
    ):
        (tmp_path / "tiny" / "bad.caffemodel").write_bytes(content)
        wrong = ["--weights", str(tmp_path / "tiny" / "bad.caffemodel"), "--last-layer", "new"]
        assert main([*given, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert not [p for p in tmp_path.iterdir() if p.name not in ("faces", "tiny")]
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "mine.txt").write_text("keep")
    assert main(asked) == 2
    assert "exists; choose another folder" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["mine.txt"]


def test_python_layers_are_refused(source, faces, tmp_path, capsys):
    path = source / "deploy.prototxt"
    own = 'layer { name: "own" type: "Python" bottom: "conv" top: "own" '
    own += 'python_param { module: "antigravity" layer: "Own" } }\nlayer { name: "drop"'
    path.write_text(path.read_text().replace('layer { name: "drop"', own))
    asked = ["finetune", str(faces), "--from", str(source), "--scratch", "-o", str(tmp_path / "r")]
    assert main(asked) == 2
    assert 'layer "own" runs Python code of its own' in capsys.readouterr().err
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("random_seed: 3", "--seed"),
        ("snapshot: 5", "--snapshot-every"),
        ('base_lr: 0.1 net: "other.prototxt"', "--from"),
        ("test_iter: 4", "the validation part, whole"),
    ],
)
def test_what_the_run_decides_is_no_solver_text(new_run, tmp_path, text, where):
    with pytest.raises(ValueError, match=rf"--solver-text: \w+ is the run's own \({where}\)"):
        new_run("no", solver_text=text)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("text", ['type: "Foo"', 'lr_policy: "foo"'])
def test_a_solver_that_is_none_leaves_no_run(new_run, tmp_path, text):
    with pytest.raises(ValueError, match="must be one of"):
        new_run("none", solver_text=text)
    assert not (tmp_path / "none").exists()


def test_a_picture_that_is_spoiled_meanwhile(new_run):
    run = new_run(max_iter=2)
    finetune.train(run.folder)
    for sample in run.dataset.samples:
        sample.path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"not a picture.*last good snapshot is .*net_iter_2"):
        finetune.train(run.folder, max_iter=9)


DAMAGE = {
    "settings": ("run.toml", lambda t: t.replace("batch = 6", 'batch = "six"'), "settings.batch"),
    "no settings": ("run.toml", lambda t: "", r"no table \[settings\]"),
    "not TOML": ("run.toml", lambda t: "= 3", "not a TOML file"),
    "negative": ("run.toml", lambda t: t.replace("batch = 6", "batch = -6"), "settings.batch"),
    "labels": ("data.csv", lambda t: t.replace("path", "phat"), "no column path"),
    "third file": (
        "snapshots/net_iter_4.resume.json",
        lambda t: t.replace('"random"', '"dom"'),
        "damaged .*remove it",
    ),
    "random numbers": (
        "snapshots/net_iter_4.resume.json",
        lambda t: json.dumps({**json.loads(t), "random": {}}),
        "no state of its random numbers",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run_is_refused(new_run, case):
    name, change, message = DAMAGE[case]
    run = new_run(max_iter=4)
    finetune.train(run.folder)
    path = run.folder / name
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        finetune.train(run.folder, max_iter=5)
