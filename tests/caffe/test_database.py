"""LMDB databases: written and read back, held against the lmdb package, and hostile ones."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

import numpy as np
import pytest

from lbpmap.caffe import io
from lbpmap.caffe.data import read_lmdb, write_lmdb
from lbpmap.caffe.formats import database

lmdb = pytest.importorskip("lmdb")


def datums(count, size=(3, 4, 5)):
    rng = np.random.default_rng(0)
    return [io.array_to_datum(rng.integers(0, 256, size).astype(np.uint8), i) for i in range(count)]


def test_what_is_written_is_read(tmp_path):
    made = datums(7)
    assert write_lmdb(tmp_path / "db", iter(made)) == 7
    got = list(read_lmdb(tmp_path / "db"))
    assert [key for key, _ in got] == [f"{i:08d}" for i in range(7)]
    assert [datum for _, datum in got] == made


def test_names_are_part_of_the_keys(tmp_path):
    write_lmdb(tmp_path / "db", [("a/b.png", datum) for datum in datums(2)])
    assert [key for key, _ in read_lmdb(tmp_path / "db")] == [
        "00000000_a/b.png",
        "00000001_a/b.png",
    ]


def test_a_database_grows_and_is_written_in_several_transactions(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "RECORDS_AT_ONCE", 10)
    monkeypatch.setattr(database, "_FIRST_MAP_BYTES", 2**16)
    made = datums(45, (3, 40, 50))
    assert write_lmdb(tmp_path / "db", made) == 45
    assert [datum for _, datum in read_lmdb(tmp_path / "db")] == made


@pytest.mark.parametrize("seed", range(3))
def test_records_are_those_that_lmdb_reads(tmp_path, seed):
    rng = np.random.default_rng(seed)
    with lmdb.open(str(tmp_path), map_size=2**27) as environment:
        for _ in range(3):
            with environment.begin(write=True) as transaction:
                for _ in range(300):
                    key = b"%08d" % rng.integers(3000) + b"x" * int(rng.integers(300))
                    values = np.zeros(int(rng.choice([1, 10, 300, 2000, 4100, 9000])), np.uint8)
                    datum = io.array_to_datum(values.reshape(1, 1, -1), int(rng.integers(9)))
                    transaction.put(key, datum.SerializeToString())
                for key in [bytes(key) for key, _ in transaction.cursor()][::4]:
                    transaction.delete(key)
        with environment.begin() as transaction:
            expected = [(key.decode(), value) for key, value in transaction.cursor()]
    assert len(expected) > 300
    got = [(key, datum.SerializeToString()) for key, datum in read_lmdb(tmp_path)]
    assert got == expected


def test_two_read_one_database_and_nothing_is_written_to_it(tmp_path):
    write_lmdb(tmp_path / "db", datums(3))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "db").iterdir()}
    first, second = database.Records(tmp_path / "db"), database.Records(tmp_path / "db")
    assert first.advance()
    assert [first.current()[0], second.current()[0]] == ["00000001", "00000000"]
    assert first.advance()
    assert not first.advance()
    assert first.current()[0] == "00000000"
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "db").iterdir()} == before


def test_an_error_leaves_nothing_behind(tmp_path):
    def failing():
        yield from datums(3)
        raise KeyError("the user's own")

    with pytest.raises(KeyError, match="the user's own"):
        write_lmdb(tmp_path / "db", failing())
    with pytest.raises(ValueError, match="not written, there are no datums"):
        write_lmdb(tmp_path / "db", [])
    with pytest.raises(ValueError, match="the key of record 0 takes 609 bytes, at most 511"):
        write_lmdb(tmp_path / "db", [("x" * 600, datums(1)[0])])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "db").mkdir()
    with pytest.raises(FileExistsError, match="db: exists already; remove it"):
        write_lmdb(tmp_path / "db", datums(1))
    with pytest.raises(FileNotFoundError, match="its folder does not exist"):
        write_lmdb(tmp_path / "absent" / "db", datums(1))


def folder_of(tmp_path, raw, name="db"):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "data.mdb").write_bytes(raw)
    return folder


def test_what_is_no_database_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent: no such folder; expected the folder of"):
        database.Records(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"data\.mdb: an empty file"):
        database.Records(folder_of(tmp_path, b"", "empty"))
    with pytest.raises(ValueError, match="zeros: not an LMDB, or a damaged one"):
        database.Records(folder_of(tmp_path, bytes(20000), "zeros"))
    with lmdb.open(str(tmp_path / "bare")):
        pass
    with pytest.raises(ValueError, match="bare: an LMDB without records"):
        database.Records(tmp_path / "bare")
    (tmp_path / "level").mkdir()
    (tmp_path / "level" / "CURRENT").touch()
    with pytest.raises(ValueError, match="level: a LevelDB, which is not read here; convert it"):
        database.Records(tmp_path / "level")
    with lmdb.open(str(tmp_path / "text")) as environment, environment.begin(write=True) as t:
        t.put(b"key\n", b"\xff\xff\xff")
    with pytest.raises(ValueError, match=r"text: record key\\n is no Datum of Caffe \(3 bytes\)"):
        database.Records(tmp_path / "text").current()


def test_a_cut_database_is_refused(tmp_path):
    write_lmdb(tmp_path / "whole", datums(40))
    raw = (tmp_path / "whole" / "data.mdb").read_bytes()
    with pytest.raises(ValueError, match=r"page \d+ is not in the file, which has \d+\); copy"):
        list(read_lmdb(folder_of(tmp_path, raw[: len(raw) // 2])))


# A whole process for each would take minutes; one that dies names the file that it died of.
_READ_ALL = """
import sys
from lbpmap.caffe.data import read_lmdb
for path in sys.argv[1:]:
    print(path, flush=True)
    try:
        print(sum(1 for _ in read_lmdb(path)))
    except (ValueError, OSError) as error:
        assert "\\n" not in str(error)
        print("refused")
"""


def test_damaged_databases_do_no_harm(tmp_path):
    write_lmdb(tmp_path / "whole", [*datums(30), *datums(2, (3, 50, 60))])
    raw = (tmp_path / "whole" / "data.mdb").read_bytes()
    rng = np.random.default_rng(0)
    folders = []
    for i in range(150):
        damaged = bytearray(raw)
        for _ in range(int(rng.integers(1, 20))):
            # Every second time only heads and tables of pages are hit.
            page = int(rng.integers(len(raw) // 4096))
            damaged[page * 4096 + int(rng.integers(120 if i % 2 else 4096))] = rng.integers(256)
        folders.append(folder_of(tmp_path, damaged, str(i)))
    done = subprocess.run(
        [sys.executable, "-c", _READ_ALL, *map(str, folders)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
    results = done.stdout.split("\n")[1::2]
    assert results.count("refused") > 50
    assert results.count("32") > 10


@pytest.mark.parametrize("size", [(3, 4, 5), (3, 50, 60)], ids=["in the page", "on others"])
def test_a_value_that_reaches_too_far_is_refused(tmp_path, size):
    write_lmdb(tmp_path / "whole", datums(1, size))
    raw = bytearray((tmp_path / "whole" / "data.mdb").read_bytes())
    # The eight bytes before a key begin with the size of its value.
    node = raw.rindex(b"00000000") - 8
    raw[node : node + 4] = (2**20).to_bytes(4, "little")
    with pytest.raises(ValueError, match=r"a value of 1048576 bytes beyond the end of page \d"):
        database.Records(folder_of(tmp_path, raw))


def test_a_tree_that_would_never_end_is_refused(tmp_path):
    def page(number, flags, *children):
        table = b"".join(
            struct.pack("<H", 16 + 2 * len(children) + 8 * i) for i in range(len(children))
        )
        nodes = b"".join(struct.pack("<HHHH", child, 0, 0, 0) for child in children)
        head = struct.pack("<QHHHH", number, 0, flags, 16 + len(table), 0)
        return (head + table + nodes).ljust(256, b"\0")

    # 32 levels of branches that lead twice to the next: 2^31 ways to an empty leaf.
    main = struct.pack("<IHH4QQ", 0, 0, 32, 31, 1, 0, 0, 2)
    free = struct.pack("<IHH4QQ", 256, 0, 0, 0, 0, 0, 0, 2**64 - 1)
    meta = struct.pack("<IIQQ", 0xBEEFC0DE, 1, 0, 2**20) + free + main + struct.pack("<QQ", 33, 1)
    heads = [(page(i, 8)[:16] + meta).ljust(256, b"\0") for i in (0, 1)]
    branches = [page(i, 1, i + 1, i + 1) for i in range(2, 33)]
    folder = folder_of(tmp_path, b"".join([*heads, *branches, page(33, 2)]))
    with pytest.raises(ValueError, match="more pages in its tree than in the file"):
        database.Records(folder)
