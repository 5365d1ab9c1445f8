"""Runs: repeatable, and what they learn."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from lbpmap import REPRESENTATIONS, caffe, caffe_blob, pictures
from lbpmap.emotion import finetune, preparing, runs, sources
from lbpmap.emotion.preparing import Options
from lbpmap.emotion.registry import net_in

from .conftest import last_weights, log, what_was_learned

torch = pytest.importorskip("torch", reason="training needs PyTorch")

pytestmark = pytest.mark.usefixtures("one_thread")


STEADY = 'base_lr: 0.003 lr_policy: "fixed"'


def test_the_same_seed_gives_the_same_weights(new_run):
    one, two, other = new_run("one"), new_run("two"), new_run("other", seed=3)
    for run, threads in ((one, 1), (two, 3), (other, 2)):
        finetune.train(run.folder, threads=threads)
    assert last_weights(one.folder) == last_weights(two.folder)
    assert what_was_learned(one.folder) == what_was_learned(two.folder)
    assert last_weights(one.folder) != last_weights(other.folder)


def test_it_learns(new_run):
    run = new_run(max_iter=60, patience=0, solver_text=STEADY)
    result = finetune.train(run.folder)
    assert result.best.accuracy > 0.8
    rows = log(run.folder)
    assert [int(row["iteration"]) for row in rows] == list(range(61))
    assert float(rows[-1]["loss"]) < float(rows[1]["loss"])
    assert [r["iteration"] for r in rows if r["validation_loss"]] == [str(4 * k) for k in range(16)]


def test_the_rate_follows_the_solvers_policy(new_run):
    run = new_run(max_iter=20)
    finetune.train(run.folder)
    rates = [float(row["learning_rate"]) for row in log(run.folder)[1:]]
    assert rates == [0.002] * 8 + [0.001] * 8 + [0.0005] * 4


def test_gradients_add_up_to_those_of_a_larger_batch(new_run):
    text = 'type: "SGD" base_lr: 0.01 lr_policy: "fixed"'
    split_up = new_run("a", batch=3, iter_size=4, solver_text=text, max_iter=5)
    at_once = new_run("b", batch=12, iter_size=1, solver_text=text, max_iter=5)
    for run in (split_up, at_once):
        path = run.folder / "train_val.prototxt"
        path.write_text(path.read_text().replace('"Dropout"', '"AbsVal"'))
        finetune.train(run.folder)
    nets = [
        caffe.Net(run.folder / "deploy.prototxt", run.folder / "snapshots/net_iter_5.caffemodel",
                  caffe.TEST)
        for run in (split_up, at_once)
    ]  # fmt: skip
    for name, blobs in nets[0].params.items():
        for a, b in zip(blobs, nets[1].params[name]):
            np.testing.assert_allclose(a.data, b.data, rtol=0, atol=1e-5 * np.abs(b.data).max())


def test_frozen_layers_stay(new_run):
    run = new_run(frozen=["conv"], max_iter=6)
    before = {}

    def keep(row):
        if row["iteration"] == 0:
            net = caffe.Net(run.folder / "deploy.prototxt", run.folder / "best.caffemodel", 1)
            before.update({k: v[0].data.copy() for k, v in net.params.items()})

    finetune.train(run.folder, on_row=keep)
    after = caffe.Net(
        run.folder / "deploy.prototxt", run.folder / "snapshots/net_iter_6.caffemodel", caffe.TEST
    )
    assert (after.params["conv"][0].data == before["conv"]).all()
    assert (after.params["ip"][0].data != before["ip"]).any()


def test_it_stops_when_nothing_gets_better_and_keeps_the_best(new_run):
    run = new_run(solver_text="base_lr: 1e-12", max_iter=500, patience=3, validate_every=2)
    result = finetune.train(run.folder)
    assert result.reason == "patience"
    assert result.iteration == result.best.iteration + 6
    assert runs.read_toml(run.folder / "result.toml")["best"]["accuracy"] == result.best.accuracy


def test_only_the_newest_snapshots_are_kept(new_run):
    run = new_run(max_iter=20, snapshot_every=3, keep=3)
    finetune.train(run.folder)
    assert runs.snapshots(run.folder) == [15, 18, 20]
    assert len(list((run.folder / "snapshots").iterdir())) == 9


def test_a_run_is_a_net(new_run, faces):
    from lbpmap.emotion import ensemble

    run = new_run(max_iter=40)
    result = finetune.train(run.folder)
    net = ensemble.load_net(net_in(run.folder))
    held_out = run.dataset.part("validation")
    right = sum(
        ensemble.predict([net], pictures.read(s.path)).label == run.dataset.labels[s.label]
        for s in held_out
    )
    assert right / len(held_out) == result.best.accuracy


def test_other_labels_get_a_new_last_layer(new_run, source, tmp_path, faces):
    first = new_run("first", max_iter=40, solver_text=STEADY)
    finetune.train(first.folder)
    kept = preparing.prepare_run(
        tmp_path / "kept", faces, sources.find_source(first.folder), Options(max_iter=1, seed=2)
    )
    assert kept.weights == first.folder / "best.caffemodel"
    finetune.train(kept.folder, weights=kept.weights)
    assert float(log(kept.folder)[0]["validation_accuracy"]) > 0.8  # it knows them
    os.rename(faces / "both", faces / "other")
    fresh = preparing.prepare_run(
        tmp_path / "fresh", faces, sources.find_source(first.folder), Options(max_iter=1, seed=2)
    )
    finetune.train(fresh.folder, weights=fresh.weights)
    old, new = (
        caffe.Net(r.folder / "deploy.prototxt", r.folder / "best.caffemodel", caffe.TEST)
        for r in (first, fresh)
    )
    assert list(new.params) == ["conv", "ip_ft1"]
    np.testing.assert_allclose(
        new.params["conv"][0].data, old.params["conv"][0].data, rtol=0, atol=0.01
    )


def mean_of(run):
    stored = (run.folder / "mean.binaryproto").read_bytes()
    blob = caffe.io.caffe_pb2.BlobProto.FromString(stored)
    return caffe.io.blobproto_to_array(blob)


def test_the_mean_is_computed_or_taken(new_run, tmp_path, faces):
    first = new_run("first", max_iter=4)
    finetune.train(first.folder)
    learned_from = [pictures.read(s.path) for s in first.dataset.part("train")]
    wanted = caffe_blob(learned_from, REPRESENTATIONS["rgb"], mean=0, size=16, crop=16).mean(axis=0)
    np.testing.assert_allclose(mean_of(first)[0], wanted, rtol=0, atol=1e-4)
    source = sources.find_source(first.folder)
    other = preparing.Options(seed=9, mean="pretrained")
    taken = preparing.prepare_run(tmp_path / "taken", faces, source, other)
    np.testing.assert_array_equal(mean_of(taken), mean_of(first))
    own = replace(other, mean=str(first.folder / "mean.binaryproto"))
    np.testing.assert_array_equal(
        mean_of(preparing.prepare_run(tmp_path / "own", faces, source, own)), mean_of(first)
    )
    with pytest.raises(FileNotFoundError, match="tiny: has no mean of its own"):
        new_run("none", mean="pretrained")


def test_a_table_of_ones_own_goes_along(new_run, tmp_path):
    import lbpmap

    table = replace(lbpmap.load_table("cyclic_lbp"), name="mine")
    table.save(tmp_path / "mine.table")
    run = new_run(representation=str(tmp_path / "mine.table"), max_iter=2)
    (tmp_path / "mine.table").unlink()
    finetune.train(run.folder)
    assert net_in(run.folder).representation == str(run.folder / "representation.table")


def test_epochs_and_iterations_are_both_limits(new_run):
    assert runs.read_settings(new_run("a", epochs=2, max_iter=99).folder).max_iter == 8
    assert runs.read_settings(new_run("b", epochs=99, max_iter=5).folder).max_iter == 5
