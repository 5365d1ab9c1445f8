from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import lbpmap
from lbpmap import Table, load_table
from lbpmap.representations import MAPPED, resolve


@pytest.mark.parametrize("name", ["lbp", "cyclic_lbp"])
def test_published_tables_are_the_authors_numbers(shared, name):
    rows = np.loadtxt(shared / "tables" / f"{name}.csv", delimiter=",", skiprows=1, dtype=int)
    table = load_table(name)
    assert rows[:, 0].tolist() == list(range(256))
    np.testing.assert_array_equal(table.values, rows[:, 1:])
    assert table.published
    assert "Levi and Hassner" in table.provenance


def test_code_255_as_released_or_its_own():
    table = load_table("cyclic_lbp")
    released, own = table.lookup("released"), table.lookup("own")
    np.testing.assert_array_equal(released[255], own[254])
    assert released[255].tolist() != own[255].tolist()
    np.testing.assert_array_equal(released[:255], own[:255])
    with pytest.raises(ValueError, match="code_255 must be"):
        table.lookup("new")


def own_table(points=8, **fields):
    rng = np.random.default_rng(points)
    return Table(rng.integers(0, 256, (2**points, 3), np.uint8), "mine", points=points, **fields)


@pytest.mark.parametrize("points", [1, 8, 12])
def test_saved_and_loaded_again(tmp_path, points):
    table = own_table(points, radius=3, arithmetic="exact", provenance="a test: with a colon")
    path = tmp_path / "my.table"
    table.save(path)
    again = load_table(path)
    np.testing.assert_array_equal(again.values, table.values)
    for field in dataclasses.fields(Table):
        if field.name != "values":
            assert getattr(again, field.name) == getattr(table, field.name)
    assert again.sha256 == table.sha256
    assert [p.name for p in tmp_path.iterdir()] == ["my.table"]


def test_a_table_of_ones_own_stands_where_a_name_stands(tmp_path):
    table = own_table(radius=2, arithmetic="exact")
    path = tmp_path / "my.table"
    table.save(path)
    image = np.random.default_rng(1).integers(0, 256, (20, 30), np.uint8)
    want = table.values[lbpmap.lbp_codes(image, 2)]
    for named in (table, path, str(path), resolve(table)):
        np.testing.assert_array_equal(lbpmap.mapped_lbp(image, named), want)
    with pytest.raises(ValueError, match="never released"):
        table.lookup("released")


def test_more_points_than_eight():
    table = own_table(10, radius=2, arithmetic="exact")
    image = np.random.default_rng(1).integers(0, 256, (20, 30), np.uint8)
    codes = lbpmap.lbp_codes(image, 2, points=10)
    np.testing.assert_array_equal(lbpmap.mapped_lbp(image, table), table.values[codes])
    np.testing.assert_array_equal(lbpmap.map_codes(codes, table), table.values[codes])


def test_values_are_a_read_only_copy():
    values = np.zeros((256, 3), np.uint8)
    table = Table(values, "black")
    values[0] = 9
    assert table.values[0].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        table.values[0] = 1


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"values": np.zeros((256, 3))}, TypeError, "values must be a uint8 array, got float64"),
        ({"values": np.zeros((255, 3), np.uint8)}, ValueError, r"shape \(256, 3\)"),
        ({"points": 17}, ValueError, "points must be 1 to 16"),
        ({"radius": 0}, ValueError, "radius must be at least 1"),
        ({"arithmetic": "double"}, ValueError, "arithmetic must be one of"),
        ({"name": " "}, ValueError, "name must be fit for a file's name"),
        ({"name": "../../pwned"}, ValueError, "without slashes"),
        ({"name": "a\\b"}, ValueError, "without slashes"),
        ({"name": ".."}, ValueError, "leading dots"),
        ({"provenance": "two\nlines"}, ValueError, "provenance must be a single line"),
    ],
)
def test_fields_are_checked(fields, error, message):
    with pytest.raises(error, match=message):
        Table(**{"values": np.zeros((256, 3), np.uint8), "name": "mine", **fields})


def damaged(text):
    """Files that are not the table in `text`, and what must be said of them."""
    lines = text.splitlines()
    yield "", "the first line must be"
    yield "x" * (3 << 20), "are too many for a table"
    yield text.replace("table 1", "table 9"), "the first line must be"
    yield "\n".join(lines[:3]), "header ends early: no 'points'"
    yield text.replace("# radius", "# radios"), ":3: expected '# radius: ...'"
    yield text.replace("points: 8", "points: 99"), "points must be 1 to 16"
    yield text.replace("points: 8", "points: 99999999999999"), "points must be a positive integer"
    yield text.replace("points: 8", "points: 4"), "4 points need 16 rows, got 256"
    yield text.replace("code,dim1", "code;dim1"), ":8: expected 'code,dim1,dim2,dim3'"
    yield "\n".join(lines[:-1]), "8 points need 256 rows, got 255"
    yield text.replace("\n7,", "\n8,"), ":16: expected code 7"
    yield text.replace("\n7,", "\n7,300,"), ":16: expected four integers"
    yield text.replace(lines[20], "12,256,0,0"), "three values 0 to 255"
    yield text.replace(lines[20], "12,1,2,-3"), "four integers"
    yield text.replace(lines[20], "12,00001,2,3" + " " * 9000), "four integers"
    yield text.replace("released", "x" * 9000), "must be one of exact, released, got 'xxx"
    yield text.replace("released", "\x1b[2J"), "must be one of exact, released, got '\\x1b[2J'"
    yield text.replace("# name: ", "# name: ." + "x" * 9000), "got '.xxx"
    yield text.replace(lines[20], "12,1,2,3"), "do not match the file's sha256"


def test_damaged_files_say_where(tmp_path):
    path = tmp_path / "my.table"
    own_table().save(path)
    for text, message in damaged(path.read_text()):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"my\.table") as caught:
            load_table(path)
        assert message in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000
    path.write_bytes(b"\x89PNG\r\n\xff\xfe")
    with pytest.raises(ValueError, match="not text"):
        load_table(path)
    with pytest.raises(FileNotFoundError, match="no such file; expected a table"):
        load_table(tmp_path / "other.table")


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path):
    folder = tmp_path / "my.table"
    folder.mkdir()
    with pytest.raises(OSError, match=r"my\.table"):
        own_table().save(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["my.table"]


def test_the_five_representations():
    found = {r.name: (r.radius, r.table and r.table.name) for r in map(resolve, MAPPED + ("rgb",))}
    assert found == {
        "rgb": (0, None),
        "lbp": (1, "lbp"),
        "cyclic_lbp": (1, "cyclic_lbp"),
        "cyclic_lbp_5": (5, "cyclic_lbp"),
        "cyclic_lbp_10": (10, "cyclic_lbp"),
    }
    assert list(lbpmap.REPRESENTATIONS) == [
        "rgb",
        "lbp",
        "cyclic_lbp",
        "cyclic_lbp_5",
        "cyclic_lbp_10",
    ]
    with pytest.raises(ValueError, match="no representation 'lpb': expected one of rgb, lbp"):
        resolve("lpb")
    with pytest.raises(TypeError, match="got int"):
        resolve(5)
