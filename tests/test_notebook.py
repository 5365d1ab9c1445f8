"""The example notebook, run as a reader runs it, and held against the package's own answers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import lbpmap
from lbpmap import pictures

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "demo.ipynb"

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.skipif(not NOTEBOOK.is_file(), reason="not a checkout"),
]

# What the notebook's names hold at its end, for this test alone.
ASKED = """
import json
said = {
    "released": released,
    "mapped": {name: picture.tobytes().hex() for name, picture in mapped.items()},
    "codes": {radius: list(c.shape) for radius, c in codes.items()},
    "one": [files.name, probabilities.tolist()],
    "by_net": {name: list(map(float, p)) for name, p in by_net.items()},
    "together": together.tolist(),
    "filters": filters.shape,
    "responses": responses.shape,
}
print(json.dumps(said))
"""


def test_it_is_committed_without_outputs():
    stored = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    assert NOTEBOOK.stat().st_size < 20_000


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Give the executed notebook; where no weights of the released nets can be found."""
    nbclient = pytest.importorskip("nbclient")
    for needed in ("ipykernel", "matplotlib"):
        pytest.importorskip(needed)
    import nbformat

    away = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(ASKED))
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(away)}}
    )
    package = str(Path(lbpmap.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": package, "XDG_DATA_HOME": str(away)}
    environment.pop("LBPMAP_MODELS", None)
    client.execute(env=environment)
    return notebook.cells


def text_of(cells):
    return "".join(
        output["text"]
        for cell in cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "stream" and output["name"] == "stdout"
    )


def test_what_it_computes(executed):
    said = json.loads(text_of(executed[-1:]))
    face = pictures.read(Path(lbpmap.__file__).parent / "astronaut.png")[40:200, 54:198]
    assert set(said["mapped"]) == set(lbpmap.REPRESENTATIONS) - {"rgb"}
    for name, pixels in said["mapped"].items():
        assert bytes.fromhex(pixels) == lbpmap.mapped_lbp(face, name).tobytes()
    assert said["codes"] == {str(r): [160 - 2 * r, 144 - 2 * r] for r in (1, 5, 10)}
    assert set(said["by_net"]) == {f"VGG_S_{name}" for name in lbpmap.REPRESENTATIONS}
    # The net run by pycaffe's calls, and by lbpmap.emotion.
    name, alone = said["one"]
    np.testing.assert_allclose(alone, said["by_net"][name], atol=1e-6)
    assert sum(alone) == pytest.approx(1, abs=1e-5)
    mean = np.mean(list(said["by_net"].values()), axis=0)
    np.testing.assert_allclose(said["together"], mean, atol=1e-9)
    assert said["filters"] == [79, 79, 3]  # ten by ten of 7 x 7, with seams
    assert said["responses"] == [659, 659, 3]


def test_what_it_shows(executed):
    cells = [cell for cell in executed if cell["cell_type"] == "code"]
    drawn = [
        output
        for cell in cells
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert len(drawn) == 6
    said = text_of(cells[:-1])
    released = json.loads(text_of(cells[-1:]))["released"]
    assert ("RANDOM NETS stand in, and their answers MEAN NOTHING" in said) is not released
    assert "conv1  96 x 109 x 109" in said
