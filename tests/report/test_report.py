"""The report: what it shows, that it needs nothing else, and that its records come back."""

from __future__ import annotations

import html.parser
import io
import itertools
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as trials
from hypothesis import strategies as st
from PIL import Image

from lbpmap import lbp_codes, mapped_lbp
from lbpmap.predict import charts, page, style
from lbpmap.predict.disagreement import disagreement, in_words, others
from lbpmap.predict.html import read, thumbnails, write
from lbpmap.predict.records import Face, Record, Settings

VOID = {"meta", "img", "wbr", "link", "br", "hr", "input"}


class Outline(html.parser.HTMLParser):
    """What is on a page: tags with their attributes in order, and words by the tag around them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID | {"path"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag == "path"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append((self.open[-1] if self.open else "", data))

    def text(self) -> str:
        return "".join(words for tag, words in self.words if tag not in ("style", "script"))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(path, settings, records, **options) -> Outline:
    write(path, settings, lambda: records, **options)
    return Outline(path.read_text())


@pytest.fixture(scope="module")
def outline(tmp_path_factory, settings, records):
    path = tmp_path_factory.mktemp("report") / "out.html"
    return written(path, settings, records, title="Some <faces>", threshold=0.4)


def test_is_a_page_in_order(outline):
    assert outline.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    linked = [a["href"] for a in outline.all("a")]
    assert linked
    assert {href[1:] for href in linked} <= set(ids)
    assert {a["aria-labelledby"] for a in outline.all("article")} <= set(ids)
    assert all(image["alt"] for image in outline.all("img"))
    assert all(svg["aria-label"] for svg in outline.all("svg"))
    assert all(row.get("scope") == "row" for row in outline.all("th"))


def test_needs_nothing_else_and_runs_nothing(outline):
    for tag, attributes in outline.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "video", "template")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name == "href":
                assert value.startswith("#")
            elif name == "src":
                assert re.match("data:image/(jpeg|png);base64,", value)
            else:
                assert "://" not in value
                assert "url(" not in value
    assert [s["type"] for s in outline.all("script")] == ["application/x-ndjson"]
    rules = "".join(words for tag, words in outline.words if tag == "style")
    assert "url(" not in rules
    assert "@import" not in rules
    policy = next(m["content"] for m in outline.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_says_what_was_found(outline, settings, records):
    text = outline.text()
    for words in (
        "Some <faces>",
        "frames of 1 video",
        "torn.jpg",
        "damaged or cut short",
        "meadow.jpg",
        "unsure: below 40",
        "nets disagree",
        "Gaps: no face (17",
        "apparent expressions, not feelings",
        "Article 5(1)(f)",
        "non-commercial",
        "0123456789abcdef" * 4,
        "0.1.0",
        *settings.labels,
        *(net["name"] for net in settings.nets),
    ):
        assert words in text
    everyone = [face for record in records for face in record.faces]
    assert len(outline.all("article")) == len(everyone) == 24
    differing = sum(len(others(face)) for face in everyone)
    assert differing > 0
    assert text.count("≠") - 1 == text.count(", differs") == differing


def test_a_bar_is_as_long_as_its_probability(tmp_path, settings, records):
    first = records[:1]
    outline = written(tmp_path / "out.html", settings, first)
    widths = [float(i["style"][6:-1]) for i in outline.all("i") if i.get("class") is None]
    shares = [100 * p for p in first[0].faces[0].probabilities]
    assert np.allclose(widths[-7:], shares, atol=0.051)


def test_shows_the_first_and_the_most_disputed(tmp_path, monkeypatch, settings):
    monkeypatch.setattr(page, "SHEET", 10)
    nets = [net["name"] for net in settings.nets]
    records = []
    for i in range(40):
        sure = np.eye(7)[3] * 0.9 + 0.1 / 7
        other = np.eye(7)[i % 7] * (i / 50) + sure * (1 - i / 50)
        by_net = dict(zip(nets, [tuple(sure.tolist())] * 4 + [tuple(other.tolist())]))
        records.append(Record(f"{i}.png", (Face(by_net, tuple(sure.tolist())),)))
    outline = written(tmp_path / "out.html", settings, records, most_detailed=7)
    apart = [disagreement(record.faces[0]) for record in records]
    disputed = sorted(sorted(range(4, 40), key=lambda i: -apart[i])[:3])
    shown = [int(a["id"][1:]) for a in outline.all("article")]
    assert shown == [0, 1, 2, 3, *disputed]
    text = outline.text()
    assert "7 of 40 faces: the first 4" in text
    assert "The first 10 of 40; 30 more are not shown" in text
    assert "39.png" in text  # at large, though not on the sheet
    assert "20.png" not in text


def test_records_come_back(tmp_path, settings, records):
    write(tmp_path / "a.html", settings, lambda: records)
    known, found = read(tmp_path / "a.html")
    assert known == settings
    assert list(found) == records


def test_a_report_that_is_added_to_keeps_its_pictures(tmp_path, monkeypatch, settings, records):
    monkeypatch.setattr(page, "SHEET", 9)
    once, twice = tmp_path / "once.html", tmp_path / "twice.html"
    write(once, settings, lambda: records, most_detailed=8)
    write(twice, settings, lambda: records[:12], most_detailed=8)
    write(
        twice,
        settings,
        lambda: itertools.chain(read(twice)[1], records[12:]),
        most_detailed=8,
    )
    dated = re.compile("<time.*</time>")
    assert dated.sub("", twice.read_text()) == dated.sub("", once.read_text())


SAYINGS = st.text(
    st.characters(exclude_categories=()) | st.sampled_from("<>&\"'/\u202e\u2066\0\x1b\n\r\u2028-!")
)


@trials(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SAYINGS, min_size=7, max_size=7))
@example(["</script><script>alert(1)</script>"] * 7)
@example(['"><img src=x onerror=alert(1)>', "<!--", "--><script>", "]]>", "&lt;", "' x='", "</a>"])
@example(["\u202egnp.exe", "\udcff\udcfe", "\x1b[2J", "a\nb\r\nc", "\u2028", "\0", "<![CDATA["])
def test_names_stay_names(tmp_path, faces, said):
    def of(path, error, net, label, kind, key, title):
        held = thumbnails(faces[1], [])
        face = Face({net: (0.9, 0.1), "b": (0.2, 0.8)}, (0.6, 0.4), pictures=held)
        face = replace(face, pictures={"face": held["face"], f"{kind}.": held["codes"]})
        records = [
            Record(path, (face, face)),
            Record(path, error=f"{error}."),
            Record(path, (face,), time=1.0),
            Record(path),
        ]
        nets = ({"name": net, f"{key}.": error}, {"name": "b"})
        made = Settings(
            (label, "other"), nets, {"weights": {net: 1.0}}, 1, {f"{key}.": path}, None, "1"
        )
        return made, records, title

    settings, records, title = of(*said)
    outline = written(tmp_path / "out.html", settings, records, title=title)
    plain = of(*["x"] * 7)
    other = written(tmp_path / "plain.html", plain[0], plain[1], title=plain[2])

    def skeleton(page):
        return [(tag, list(attributes)) for tag, attributes in page.tags if tag != "wbr"]

    assert skeleton(outline) == skeleton(other)
    shown = outline.text() + "".join(
        value for _, attributes in outline.tags for value in attributes.values()
    )
    assert not re.search("[\u202a-\u202e\u2066-\u2069\0\x1b\ud800-\udfff]", shown)
    known, found = read(tmp_path / "out.html")
    assert known == settings
    assert list(found) == records


def refusal(path):
    with pytest.raises(ValueError, match=r"expected a report|cannot be read") as caught:
        list(read(path)[1])
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_refuses_what_is_no_report(tmp_path, settings, records):
    path = tmp_path / "out.html"
    for other in (b"", b"<!doctype html>\n<title>Else</title>\n", bytes(range(256)) * 9):
        path.write_bytes(other)
        refusal(path)
    write(path, settings, lambda: records)
    whole = path.read_bytes()
    for part in (len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:part])
        assert "not whole" in refusal(path)
    with pytest.raises(FileNotFoundError, match="expected a report"):
        read(tmp_path / "none.html")
    with pytest.raises(IsADirectoryError, match="expected a report"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"format":1', b'"format":2', "format 2"),
        (b'"crops":10', b'"crop":10', "crop"),
        (b'"crops":10', b'"crops":10,', "settings"),
        (b'"time":0.5', b'"time":"x"', "film.mp4: time 'x'"),
        (b'"time":0.5', b'"time":NaN', "film.mp4: time nan"),
        (b'"frame":12,', b'"frame":[],', "film.mp4: frame"),
        (b'"score":0.5', b'"score":NaN', "two.png: score nan"),
        (b'"box":[1.0,', b'"box":[NaN,', "two.png: box"),
        (b'"box":[1.0,', b'"box":[', "two.png: box"),
        (b'"probabilities":[', b'"probabilities":[7,', "expected 7 probabilities"),
        (b'"path":"portraits/meadow.jpg"', b'"path":5', "path 5"),
        (b'"path":"portraits/meadow.jpg"', b'"way":5', "damaged"),
        (b'id="p0-1" src="data:', b'id="p0-1" src="date:', "picture codes is missing"),
        (b'id="p0-1" src="data:image/jpeg;base64,', b'id="p0-1" src="data:image/jpeg;base64,*', ""),
        (b'{"path":"portraits/meadow', b'{"path":"\xff', "damaged"),
        (b'{"path":"portraits/meadow', b"[" * 5000, "damaged"),
        (b'{"path":"portraits/meadow', b" " * (1 << 24), "line of more than"),
    ],
)
def test_refuses_what_was_tampered_with(tmp_path, settings, records, old, new, said):
    path = tmp_path / "out.html"
    write(path, settings, lambda: records)
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(whole.replace(old, new, 1))
    assert said in refusal(path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Face({}, (0.5, 0.5)), "a.png: all nets: expected 7 probabilities"),
        (Face({"n": (float("nan"),) * 7}, (1 / 7,) * 7), "a.png: n: expected 7"),
        (Face({}, (1 / 7,) * 7, pictures={"face": b"GIF89a"}), "neither JPEG nor PNG"),
    ],
)
def test_writes_nothing_wrong(tmp_path, settings, wrong, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        write(tmp_path / "out.html", settings, lambda: [Record("a.png", (wrong,))])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="threshold must be from 0"):
        write(tmp_path / "out.html", settings, list, threshold=40)


def test_holds_as_little_of_many_as_of_few(tmp_path, faces):
    held = thumbnails(faces[0], ["cyclic_lbp"])
    settings = Settings(("no", "yes"), ({"name": "a"}, {"name": "b"}), {}, 1, {}, None, "1")

    def some(number):
        for i in range(number):
            p = (i % 1000) / 1000
            face = Face({"a": (p, 1 - p), "b": (0.5, 0.5)}, (p, 1 - p), pictures=held)
            time = 0.0 if i % 7 == 0 and i < 200 else None
            yield Record(f"faces/{i}.png", (face,) if i % 5 else (), time=time)

    peaks = []
    for number in (1_200, 3_600):
        tracemalloc.start()
        try:
            write(tmp_path / "out.html", settings, lambda n=number: some(n))
            assert sum(1 for _ in read(tmp_path / "out.html")[1]) == number
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert max(peaks) < 3e6
    assert peaks[1] - peaks[0] < 1e5


@pytest.mark.parametrize("scheme", [style.LIGHT, style.DARK])
def test_letters_stand_out(scheme):
    for letters, ground in style.PAIRS:
        assert style.contrast(scheme[letters], scheme[ground]) >= 4.5
    assert style.contrast(scheme["ink"], "#ffffff" if scheme is style.LIGHT else "#131418") >= 7
    assert set(style.LIGHT) == set(style.DARK)


def test_labels_have_colours_of_their_own():
    names = ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]
    seven = style.label_colours(names)
    assert len(set(seven)) == 7
    assert style.label_colours(names[::-1]) == seven[::-1]
    for many in (2, 21, 40):
        chosen = style.label_colours([f"kind {i}" for i in range(many)])
        assert len(set(chosen)) == min(many, 21)
        for colour in chosen:
            assert style.contrast(style.text_on(colour), colour) >= 4.5
    assert all(style.contrast(style.text_on(c), c) >= 4.5 for c in seven)
    assert len(set(style.label_colours([*names, "smirk"]))) == 8


# SciPy's divergence of numbers whose half is 0 is infinite.
share = st.floats(0, 1, allow_subnormal=False)
shares = st.lists(share, min_size=3, max_size=3).filter(lambda p: sum(p) > 1e-3)


@given(st.lists(shares, min_size=2, max_size=5))
def test_disagreement_is_between_none_and_all(raw):
    nets = {str(i): tuple((np.array(p) / sum(p)).tolist()) for i, p in enumerate(raw)}
    face = Face(nets, tuple(np.mean(list(nets.values()), axis=0).tolist()))
    value = disagreement(face)
    assert 0 <= value <= 1
    turned = Face(dict(reversed(list(nets.items()))), face.probabilities)
    assert disagreement(turned) == pytest.approx(value, abs=1e-12)
    assert disagreement(Face({"a": nets["0"]}, nets["0"])) == 0


@trials(deadline=None)  # the first call imports SciPy
@given(shares, shares)
def test_disagreement_of_two_is_scipys(p, q):
    from scipy.spatial.distance import jensenshannon

    p, q = np.array(p) / sum(p), np.array(q) / sum(q)
    face = Face({"a": tuple(p.tolist()), "b": tuple(q.tolist())}, tuple(((p + q) / 2).tolist()))
    assert disagreement(face) == pytest.approx(np.nan_to_num(jensenshannon(p, q, 2)) ** 2, abs=1e-9)


def test_disagreement_in_words():
    assert [in_words(v) for v in (0.0, 0.05, 0.19, 0.2, 1.0)] == [
        "nets agree",
        "nets differ a little",
        "nets differ a little",
        "nets disagree",
        "nets disagree",
    ]
    opposed = Face({"a": (1.0, 0.0, 0.0), "b": (0.0, 1.0, 0.0), "c": (0.0, 0.0, 1.0)}, (1 / 3,) * 3)
    assert disagreement(opposed) == pytest.approx(1)


def columns(drawn: str, label: int) -> dict[int, float]:
    """Give the heights of a label's area by column."""
    shape = re.search(rf'<path class="c{label}" d="([^"]*)"', drawn)
    cells = re.findall(r"M(\d+) [\d.]+h1v([\d.]+)h-1z", shape.group(1) if shape else "")
    return {int(x): float(height) for x, height in cells}


@pytest.mark.parametrize("moments", [1, 2, 7, 159, 160, 161, 12_345])
def test_time_is_parted_evenly(moments):
    span = charts.Span(0.1, 0.1)
    times = [0.1 + i * (1 / 30) for i in range(moments)]
    for time in times:
        span.add(time)
    line = charts.Timeline(span, 2)
    for i, time in enumerate(times):
        p = i / moments
        line.add(Record("f.mp4", (Face({}, (p, 1 - p)),), time=time))
    seen = columns(line.draw(("a", "b"), "f.mp4"), 1)
    wide = min(charts.COLUMNS, moments)
    assert sorted(seen) == list(range(wide))  # no column without its moments
    heights = [seen[x] for x in range(wide)]
    assert heights == sorted(heights, reverse=True)
    assert np.mean(heights) == pytest.approx(100 * (1 - (moments - 1) / 2 / moments), abs=0.5)


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (2, ["0:00.0", "0:00.5", "0:01.0", "0:01.5", "0:02.0"]),
        (300, ["0:00", "1:15", "2:30", "3:45", "5:00"]),
    ],
)
def test_moments_along_a_chart_are_told_apart(length, shown):
    line = charts.Timeline(charts.Span(0, length, 2), 2)
    along = line.draw(("a", "b"), "f.mp4").partition('class="along"')[2]
    assert re.findall(r"<span>([\d:.]+)</span>", along)[:5] == shown


def test_the_largest_face_is_followed():
    span = charts.Span(0, 0, 1)
    line = charts.Timeline(span, 2)
    near = Face({}, (1.0, 0.0), box=(0, 0, 50, 50), score=0.1)
    far = Face({}, (0.0, 1.0), box=(60, 0, 80, 20), score=0.9)
    line.add(Record("f.mp4", (far, near), time=0.0))
    drawn = line.draw(("a", "b"), "f.mp4")
    assert columns(drawn, 0) == {0: 100.0}
    assert columns(drawn, 1) == {}


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("side", [20, 25, 60, 220, 2000])
def test_thumbnails_are_small(faces, side):
    pixels = np.asarray(Image.fromarray(faces[0]).resize((side, side)))
    made = thumbnails(pixels, ["rgb", "lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10"])
    mapped = ["lbp", "cyclic_lbp", "cyclic_lbp_5"] + ["cyclic_lbp_10"] * (side > 20)
    assert list(made) == ["face", "codes", *mapped]
    assert sum(map(len, made.values())) < 13_000
    assert opened(made["face"]).shape == (min(side, 112),) * 2 + (3,)
    assert opened(made["codes"]).shape == (min(side - 2, 80),) * 2


def test_thumbnails_of_small_faces_are_the_codes_themselves(faces):
    made = thumbnails(faces[1], ["cyclic_lbp_5"])
    assert np.array_equal(opened(made["face"]), faces[1])
    assert np.array_equal(opened(made["codes"]), lbp_codes(faces[1]))
    assert np.array_equal(opened(made["cyclic_lbp_5"]), mapped_lbp(faces[1], "cyclic_lbp_5"))


def test_thumbnails_of_hardly_anything():
    assert list(thumbnails(np.zeros((2, 9, 3), np.uint8), ["lbp"])) == ["face"]
    assert list(thumbnails(np.zeros((1, 3000, 3), np.uint8), ["lbp"])) == ["face"]
    assert list(thumbnails(np.zeros((3, 3000, 3), np.uint8), ["lbp"])) == ["face", "codes", "lbp"]
    with pytest.raises(ValueError, match=r"shape \(4, 4\); expected"):
        thumbnails(np.zeros((4, 4), np.uint8), [])
    with pytest.raises(TypeError, match="float64; expected a uint8"):
        thumbnails(np.zeros((4, 4, 3)), [])
