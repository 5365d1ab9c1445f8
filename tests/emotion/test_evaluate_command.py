"""`lbpmap evaluate` and `lbpmap ensemble`, on pictures of faces and of other things."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn import metrics

from lbpmap import pictures
from lbpmap.cli import main
from lbpmap.emotion.scores import log_loss

LABELS = ["face", "other"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Write 40 faces and 40 other things, and a table of them with parts and people."""
    lfw = pytest.importorskip("skimage.data").lfw_subset()
    root = tmp_path_factory.mktemp("lfw")
    rows = ["path,label,split,who"]
    for k, pixels in enumerate(np.concatenate([lfw[:40], lfw[100:140]])):
        label = LABELS[k // 40]
        path = root / "faces" / label / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.write_png(path, np.rint(255 * pixels).astype(np.uint8))
        rows.append(
            f"faces/{label}/{k:02}.png,{label},{('validation', 'test')[k % 2]},{k // 4}{k % 2}"
        )
    (root / "faces.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def nets(make_net):
    """Make three nets of two outputs, one with its labels the other way round."""
    made = [
        make_net("S_rgb", "rgb", outputs=2, labels=LABELS, seed=1),
        make_net("S_lbp", "lbp", outputs=2, labels=LABELS[::-1], seed=2),
        make_net("S_cyclic_lbp_5", "cyclic_lbp_5", outputs=2, labels=LABELS, seed=5),
    ]
    return made[0].parent


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def check_scores(said, rows):
    """Hold scores of scores.json against scikit-learn run on predictions.csv."""
    true = [row["label"] for row in rows]
    predicted = [row["predicted"] for row in rows]
    labels = said["labels"]
    p = np.array([[float(row[label]) for label in labels] for row in rows])
    assert predicted == [labels[k] for k in p.argmax(axis=1)]
    assert said["accuracy"] == metrics.accuracy_score(true, predicted)
    assert said["mean_class_accuracy"] == metrics.balanced_accuracy_score(true, predicted)
    assert said["macro_f1"] == metrics.f1_score(true, predicted, average="macro", zero_division=0)
    assert said["confusion"] == metrics.confusion_matrix(true, predicted, labels=labels).tolist()
    want = metrics.classification_report(
        true, predicted, labels=labels, output_dict=True, zero_division=0
    )
    for one in said["per_class"]:
        got = (one["precision"], one["recall"], one["f1"], one["support"])
        assert got == tuple(
            want[one["label"]][key] for key in ("precision", "recall", "f1-score", "support")
        )
    truth = np.array([labels.index(label) for label in true])
    assert said["log_loss"] == pytest.approx(log_loss(p, truth), abs=1e-6)


def test_everything_that_is_written(nets, faces, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["evaluate", str(nets), str(faces / "faces.csv"), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    said = json.loads((out / "scores.json").read_text())
    assert (said["part"], said["pictures"], said["failed"]) == ("test", 40, [])
    assert list(said["nets"]) == ["S_cyclic_lbp_5", "S_lbp", "S_rgb"]
    probabilities = []
    for name, scores in said["nets"].items():
        rows = read_csv(out / name / "predictions.csv")
        check_scores(scores, rows)
        probabilities.append([[float(row[label]) for label in LABELS] for row in rows])
        assert pictures.read(out / name / "confusion.png").ndim == 3
        assert f"{scores['accuracy']:.4f} [" in printed
    rows = read_csv(out / "predictions.csv")
    check_scores(said["ensemble"], rows)
    together = [[float(row[label]) for label in LABELS] for row in rows]
    np.testing.assert_allclose(together, np.mean(probabilities, axis=0), atol=1e-6)
    assert [row["path"] for row in rows][:2] == [
        str(faces / "faces/face/01.png"),
        str(faces / "faces/face/03.png"),
    ]
    table = read_csv(out / "table.csv")
    assert [row["net"] for row in table] == ["S", "ensemble (uniform)"]
    assert float(table[0]["rgb"]) == said["nets"]["S_rgb"]["accuracy"]
    assert float(table[1]["all"]) == said["ensemble"]["accuracy"]
    assert table[0]["cyclic_lbp"] == ""
    assert (out / "table.md").read_text() in printed


def test_one_net_in_json(nets, faces, capsys, tmp_path):
    command = ["evaluate", str(nets / "S_lbp"), str(faces / "faces")]
    assert main([*command, "--crops", "10", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["part"], said["pictures"], said["crops"]) == ("all", 80, 10)
    assert "ensemble" not in said
    assert said["nets"]["S_lbp"]["labels"] == LABELS[::-1]
    file = tmp_path / "scores.json"
    assert main(["evaluate", "S_lbp", str(faces / "faces"), "--json", str(file), "--seed=1"]) == 0
    assert "other  " in capsys.readouterr().out
    again = json.loads(file.read_text())
    assert again["nets"]["S_lbp"]["confusion"] != []
    assert again["seed"] == 1
    assert main([*command, "--bootstrap", "0", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)["nets"]["S_lbp"]
    assert plain["accuracy_interval"] is None
    assert plain["accuracy"] == again["nets"]["S_lbp"]["accuracy"]


def test_people_widen_intervals(nets, faces, capsys):
    def interval(*more):
        assert main(["evaluate", "S_lbp", str(faces / "faces.csv"), *more, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["nets"]["S_lbp"]["accuracy_interval"]

    assert interval() == interval()
    assert interval("--group-by", "who") != interval()


def test_a_run_alone_is_evaluated_on_its_own_data(nets, faces, capsys):
    run = nets / "S_rgb"
    rows = (faces / "faces.csv").read_text().replace("faces/", f"{faces}/faces/")
    (run / "data.csv").write_text(rows)
    assert main(["evaluate", str(run), "--part", "validation", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["data"] == str(run / "data.csv")
    assert (said["part"], said["pictures"]) == ("validation", 40)


def test_bad_pictures_are_named_and_left_out(nets, faces, capsys, tmp_path):
    for k, label in enumerate(["face", "face", "other"]):
        path = tmp_path / "data" / label / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((faces / "faces/face/00.png").read_bytes())
    (tmp_path / "data/face/1.png").write_bytes(b"")
    command = ["evaluate", "S_lbp", str(tmp_path / "data"), "--json"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert f"{tmp_path}/data/face/1.png: " in said.err
    assert "1 of 3 failed" in said.err
    found = json.loads(said.out)
    assert found["failed"] == [str(tmp_path / "data/face/1.png")]
    assert found["pictures"] == 2
    for name in ("face/0.png", "other/2.png"):
        (tmp_path / "data" / name).write_bytes(b"")
    assert main(command) == 2
    assert "no picture could be read" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["weighted", "uniform", "stacked"])
def test_an_ensemble_is_fitted_shown_and_used(nets, faces, tmp_path, capsys, method):
    file, data = tmp_path / "ensemble.toml", str(faces / "faces.csv")
    command = ["ensemble", "fit", str(nets), data, "-o", str(file), "--method", method]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"{method}, fitted on 40 pictures (validation) of {data}, crops 1" in printed
    assert main(["ensemble", "show", str(file)]) == 0
    assert capsys.readouterr().out == printed

    whole = ["evaluate", "--ensemble", str(file), data, "--part", "validation", "--json"]
    assert main(whole) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ensemble"]["method"] == method
    line = next(line for line in printed.splitlines() if line.startswith(f"{method}  "))
    assert f"{said['ensemble']['accuracy']:.4f}  " in line
    assert f"{said['ensemble']['log_loss']:.4f}" in line
    losses = [net["log_loss"] for net in said["nets"].values()]
    if method == "weighted":
        assert said["ensemble"]["log_loss"] <= min(losses) + 1e-5
        assert sum(said["ensemble"]["weights"]) == pytest.approx(1)

    face = faces / "faces/face/00.png"
    assert main(["predict", str(face), "--ensemble", str(file), "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    out = tmp_path / "out"
    assert main([*whole[:-1], "-o", str(out)]) == 0
    capsys.readouterr()
    row = next(row for row in read_csv(out / "predictions.csv") if row["path"] == str(face))
    for label in LABELS:
        assert predicted["probabilities"][label] == pytest.approx(float(row[label]), abs=2e-6)
    assert predicted["label"] == row["predicted"]


def test_an_ensemble_brings_its_crops(nets, faces, tmp_path, capsys):
    file, data = tmp_path / "ensemble.toml", str(faces / "faces.csv")
    assert main(["ensemble", "fit", str(nets), data, "-o", str(file), "--crops", "10"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--ensemble", str(file), data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["crops"] == 10
    assert main(["evaluate", "--ensemble", str(file), data, "--crops", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["crops"] == 1


def test_what_is_refused(nets, faces, tmp_path, capsys, make_net):
    data = str(faces / "faces.csv")

    def refused(*command):
        assert main(list(command)) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        return said.err

    fit = ("ensemble", "fit")
    assert "no net given, only data" in refused("evaluate", data)
    assert "no net given, only data" in refused(*fit, data, "-o", str(tmp_path / "e.toml"))
    assert "'nowhere' " not in refused("evaluate", "nowhere", data)
    assert "nowhere: neither a folder nor the name of a net" in refused("evaluate", "nowhere", data)
    assert "no net: expected a folder with model.toml" in refused("evaluate", str(faces), data)
    assert "no train part; it has validation, test" in refused(
        "evaluate", "S_lbp", data, "--part", "train"
    )
    missing = str(tmp_path / "no" / "scores.json")
    assert "its folder does not exist" in refused("evaluate", "S_lbp", data, "--json", missing)
    assert "a file; expected the name of a folder" in refused("evaluate", "S_lbp", data, "-o", data)
    assert "make it first" in refused(*fit, "S_lbp", data, "-o", str(tmp_path / "no" / "e.toml"))
    (tmp_path / "e.toml").write_text("format = 1\n")
    ensemble = ("--ensemble", str(tmp_path / "e.toml"))
    assert "field method must be" in refused("evaluate", *ensemble, data)
    assert "field method must be" in refused("predict", *ensemble, data)
    assert "field method must be" in refused("ensemble", "show", str(tmp_path / "e.toml"))
    assert "leave S_lbp out" in refused("evaluate", *ensemble, "S_lbp", data)
    assert "leave --net S_lbp out" in refused("predict", *ensemble, "--net", "S_lbp", data)
    make_net("emotions")
    assert "label 'face', 'other' is none of the nets'" in refused("evaluate", "emotions", data)


def test_a_name_that_json_would_write_over(nets, faces, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "S_lbp", "--json", str(faces / "faces.csv")])
    assert caught.value.code == 2
    assert "writes a file that ends in .json" in capsys.readouterr().err
    assert (faces / "faces.csv").read_text().startswith("path,label")
