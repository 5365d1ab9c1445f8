"""The paper's grid in small: two layouts on two representations, stopped and gone on with."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap.cli import main
from lbpmap.emotion import synthetic

torch = pytest.importorskip("torch", reason="training needs PyTorch")


@pytest.fixture
def nets(tmp_path, write_learner):
    """Give a folder of nets: two widths, each for two representations."""
    for width, architecture in ((2, "thin"), (5, "wide")):
        for representation in ("rgb", "lbp"):
            folder = tmp_path / "nets" / f"{architecture}_{representation}"
            write_learner(folder, ["a", "b"], width=width, representation=representation)
            synthetic.write_random_weights(folder / "deploy.prototxt", folder / "w.caffemodel")
    return tmp_path / "nets"


@pytest.fixture
def faces(tmp_path, write_ramps):
    rng = np.random.default_rng(1)
    for part, count in (("train", 8), ("val", 6), ("test", 6)):
        write_ramps(tmp_path / "faces" / part, count, rng)
    return tmp_path / "faces"


def test_one_command_trains_weighs_and_scores_all(nets, faces, tmp_path, capsys, monkeypatch):
    asked = ["grid", str(faces), "-o", str(tmp_path / "grid"), "--models", str(nets)]
    asked += ["--architectures", "thin", "wide", "--representations", "rgb", "lbp"]
    asked += ["--max-iter", "4", "--batch", "4", "-q"]

    from lbpmap.emotion import finetune

    train = finetune.train
    begun = []

    def broken_off(folder, **options):
        begun.append(folder.name)
        return train(folder, **{**options, "stop": lambda: len(begun) == 3})

    monkeypatch.setattr(finetune, "train", broken_off)
    assert main(asked) == 130
    assert begun == ["thin_rgb", "thin_lbp", "wide_rgb"]
    assert main(asked) == 0
    assert begun == ["thin_rgb", "thin_lbp", "wide_rgb", "wide_rgb", "wide_lbp"]
    said = capsys.readouterr().out
    assert said.count("is done") == 2
    table = (tmp_path / "grid" / "scores" / "table.md").read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[0][:3] == ["net", "rgb", "lbp"]
    assert [line[0] for line in lines[2:4]] == ["thin", "wide"]
    assert all(line[1] and line[2] for line in lines[2:4])
    assert "12 pictures (test)" in said
    assert main(asked) == 0  # nothing is left to do
    assert len(begun) == 5


def test_a_net_that_diverges_does_not_stop_the_others(nets, faces, tmp_path, capsys):
    (nets / "thin_rgb" / "solver.prototxt").write_text(
        'type: "SGD" base_lr: 1e30 lr_policy: "fixed" max_iter: 4'
    )
    asked = ["grid", str(faces), "-o", str(tmp_path / "grid"), "--models", str(nets)]
    asked += ["--architectures", "thin", "--representations", "rgb", "lbp", "--batch", "4", "-q"]
    assert main([*asked, "--max-iter", "4"]) == 1
    said = capsys.readouterr()
    assert "thin_rgb: the loss is" in said.err
    assert "thin_rgb to begin it anew" in said.err
    assert (tmp_path / "grid" / "thin_lbp" / "result.toml").is_file()
    assert "12 pictures (test)" in said.out


def test_without_weights_it_says_where_they_go(nets, faces, tmp_path, capsys):
    asked = ["grid", str(faces), "-o", str(tmp_path / "grid"), "--models", str(nets)]
    assert main([*asked, "--architectures", "VGG_M_2048", "--representations", "rgb"]) == 2
    assert "VGG_M_2048_rgb: no weights to start from" in capsys.readouterr().err
    assert main([*asked, "--architectures", "none", "--representations", "rgb", "--scratch"]) == 2
    assert "no net 'none'" in capsys.readouterr().err
    assert not (tmp_path / "grid").exists()
