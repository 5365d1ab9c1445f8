"""The sections of the page, from its head to its foot, as pieces of HTML to be written in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from lbpmap.predict import charts, style
from lbpmap.predict.disagreement import DISAGREE, disagreement, in_words, others
from lbpmap.predict.markup import clock, count, name, percent, picture, short_name, text
from lbpmap.predict.records import Face, Record, Settings
from lbpmap.predict.survey import LISTED, VIDEOS, Survey

#: At most so many faces are on the sheet.
SHEET = 600
# A longer list is closed until somebody opens it.
_LONG = 8
_TABLE = "A table, <code>-o FILE.csv</code>, has all."

# The browser itself sees to it that nothing is loaded and nothing runs.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"

_MEANING = (
    "They name <strong>apparent expressions, not feelings</strong>: what a face looks like to "
    "people who sorted pictures. What somebody feels, intends or is like cannot be read from it, "
    "and how feelings show differs between people, cultures and moments.",
    "The released nets learned them from SFEW, some 1,766 stills of <strong>actors in films"
    "</strong>. Neither these nor the pictures that the nets knew before are balanced by age, sex, "
    "skin colour or origin. They are often wrong, and how much more often for whom is not known.",
    "Probabilities are how sure a net is, which is not how often it is right. Where nets disagree, "
    "or all are unsure, do not take the label at its word.",
    "Do <strong>not decide about people</strong> by them, and show people to nets only if they "
    "know and agree. A report like this one holds pictures of faces, which are personal data.",
    "In the European Union, Article 5(1)(f) of the AI Act, Regulation (EU) 2024/1689, prohibits "
    "inferring emotions <strong>at work and in education</strong>, save for medical or safety "
    "reasons; other uses have duties. This is a pointer, not legal advice.",
    "The released nets come from VGG_CNN_S and are for <strong>non-commercial use</strong>.",
)


def head(title: str, settings: Settings, found: Survey, generator: str) -> Iterator[str]:
    """Give all above the first section."""
    made = datetime.now(timezone.utc).astimezone().replace(microsecond=0)
    yield (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{text(generator)}">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="robots" content="noindex">\n'
        f"<title>{text(title)}</title>\n<style>\n{style.sheet(settings.labels)}</style>\n"
        f'</head>\n<body>\n<header>\n<p class="kind">lbpmap · apparent expressions of faces</p>\n'
        f'<h1>{name(title)}</h1>\n<p class="meta">Made on '
        f'<time datetime="{made.isoformat()}">{made:%d %B %Y, %H:%M}</time> by lbpmap '
        f"{text(settings.version)}, with {count(len(settings.nets), 'net')}.</p>\n"
        f'<p class="caution">The labels say how a face looks, not what a person feels. '
        f'<a href="#meaning">What they mean and what they are not for</a></p>\n'
    )
    places = (
        ("summary", "Summary", True),
        ("time", "Over time", bool(found.spans)),
        ("sheet", "Contact sheet", found.faces > 0),
        ("faces", "Face by face", bool(found.detailed)),
        ("missing", "Not seen", found.failed + found.faceless > 0),
        ("made", "How it was made", True),
    )
    links = "".join(f'<li><a href="#{to}">{words}</a></li>' for to, words, there in places if there)
    yield f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n</header>\n<main>\n'


def summary(settings: Settings, found: Survey, threshold: float) -> Iterator[str]:
    """Give the counts."""
    figures = [
        (f"{found.pictures:,}", "picture" if found.pictures == 1 else "pictures"),
        (
            f"{found.frames:,}",
            f"{'frame' if found.frames == 1 else 'frames'} of {count(found.videos, 'video')}",
        ),
        (f"{found.faces:,}", "face" if found.faces == 1 else "faces"),
        (f"{found.faceless:,}", "without a face"),
        (f"{found.failed:,}", "failed"),
    ]
    if found.frames == 0:
        del figures[1]
    elif found.pictures == 0:
        del figures[0]
    if len(settings.nets) > 1:
        figures.append((f"{found.disputed:,}", "faces over which nets disagree"))
    if threshold > 0:
        figures.append((f"{found.unsure:,}", f"unsure: below {percent(threshold)}"))
    tiles = "".join(f"<div><dt>{words}</dt><dd>{number}</dd></div>" for number, words in figures)
    yield f'<section id="summary">\n<h2>Summary</h2>\n<dl class="figures">{tiles}</dl>\n'
    if found.faces:
        table = charts.counts(settings.labels, found.by_label, "Faces by label")
        yield f'<div id="counts"><h3>Faces by their most probable label</h3>{table}</div>\n'
    yield "</section>\n"


def over_time(settings: Settings, found: Survey, records: Iterable[Record]) -> Iterator[str]:
    """Give a chart a video; goes through all records if there are any videos."""
    if not found.spans:
        return
    lines = {
        path: charts.Timeline(span, len(settings.labels)) for path, span in found.spans.items()
    }
    for record in records:
        if record.time is not None and record.path in lines:
            lines[record.path].add(record)
    yield (
        '<section id="time">\n<h2>Over time</h2>\n<p>The probabilities of all nets together, one '
        "upon the other; where a frame has several faces, of the largest."
    )
    if found.videos > VIDEOS:
        yield f" The first {VIDEOS} of {found.videos:,} videos."
    yield "</p>\n"
    for path, line in lines.items():
        yield f'<div class="video"><h3>{name(path)}</h3>{line.draw(settings.labels, path)}</div>\n'
    yield "</section>\n"


def sheet(
    settings: Settings, found: Survey, records: Iterable[Record], threshold: float
) -> Iterator[str]:
    """Give the sheet of small faces; goes through no more records than it shows."""
    if not found.faces:
        return
    yield '<section id="sheet">\n<h2>Contact sheet</h2>\n'
    if found.faces > SHEET:
        yield (
            f"<p>The first {SHEET:,} of {found.faces:,}; {found.faces - SHEET:,} more are not "
            f"shown. {_TABLE}</p>\n"
        )
    yield "<ol>"
    for number, record, which in numbered(records):
        if number >= SHEET:
            break
        yield _tile(settings, found, number, record, which, threshold)
    yield "</ol>\n</section>\n"


def numbered(records: Iterable[Record]) -> Iterator[tuple[int, Record, int]]:
    """Give every face's number, its record, and which of the faces in it it is."""
    number = 0
    for record in records:
        for which in range(len(record.faces)):
            yield number, record, which
            number += 1


def _tile(
    settings: Settings, found: Survey, number: int, record: Record, which: int, threshold: float
) -> str:
    face = record.faces[which]
    shown = short_name(record, which)
    # A picture has its id in one place: at large if it is there, here otherwise.
    at_large = number in found.detailed
    inside = (
        f"{_picture(face, 'face', shown, '' if at_large else f'p{number}-0')}"
        f'<span class="says"><span class="dot c{face.best}" aria-hidden="true"></span>'
        f"{name(settings.labels[face.best])}"
        f'<span class="n">{percent(face.probabilities[face.best])}</span></span>'
        f'<span class="file" title="{text(record.path)}">{name(shown)}</span>'
        f"{_chips(face, threshold, brief=True)}"
    )
    return f'<li><a href="#f{number}">{inside}</a></li>' if at_large else f"<li>{inside}</li>"


def _chips(face: Face, threshold: float, *, brief: bool = False) -> str:
    """Mark a face that is unsure or disputed, in words."""
    chips = []
    if face.probabilities[face.best] < threshold:
        words = "unsure" if brief else f"unsure: below {percent(threshold)}"
        chips.append(f'<span class="chip unsure">{words}</span>')
    apart = disagreement(face)
    if len(face.by_net) > 1 and (apart >= DISAGREE or not brief):
        words = in_words(apart) + ("" if brief else f" · {apart:.2f}")
        kind = "chip disagree" if apart >= DISAGREE else "chip"
        chips.append(f'<span class="{kind}">{words}</span>')
    return " ".join(chips)


def _picture(face: Face, which: str, alt: str, anchor: str) -> str:
    data = face.pictures.get(which)
    if data is None:
        return '<span class="none">no picture kept</span>'
    return picture(data, alt, anchor=anchor)


def at_large(
    settings: Settings, found: Survey, records: Iterable[Record], threshold: float
) -> Iterator[str]:
    """Give the faces that were chosen, each with its pictures and what every net says."""
    if not found.detailed:
        return
    yield '<section id="faces">\n<h2>Face by face</h2>\n<p>'
    if len(found.detailed) < found.faces:
        most = len(found.detailed)
        rest = (
            f": the first {most - most // 2:,}, and of the others those over which nets disagree "
            "most"
            if len(settings.nets) > 1
            else ", the first ones"
        )
        yield f"{most:,} of {count(found.faces, 'face')}{rest}. {_TABLE} "
    yield (
        "Codes (of radius 1) and mapped pictures are made at the face&rsquo;s own size, as nets "
        "get them, and only shrunk to be shown here: fine grain blends.</p>\n"
    )
    if len(settings.nets) > 1:
        yield (
            "<details><summary>What the number beside “nets agree” or “nets disagree” is"
            "</summary><p>The Jensen-Shannon divergence between the nets: 0 if all give the same "
            f"probabilities, 1 if each is sure of another label. From {DISAGREE} on they are said "
            "to disagree. ≠ marks a net whose most probable label is not that of all together."
            "</p></details>\n"
        )
    last = max(found.detailed)
    for number, record, which in numbered(records):
        if number > last:
            break
        if number in found.detailed:
            yield _article(settings, number, record, which, threshold)
    yield "</section>\n"


def _article(settings: Settings, number: int, record: Record, which: int, threshold: float) -> str:
    face = record.faces[which]
    shown = short_name(record, which)
    best = face.probabilities[face.best]
    portraits = "".join(
        f"<figure{' class=large' if kind == 'face' else ''}>"
        f"{picture(data, f'{kind} of {shown}', anchor=f'p{number}-{i}')}"
        f"<figcaption>{_caption(kind)}</figcaption></figure>"
        for i, (kind, data) in enumerate(face.pictures.items())
    )
    if not portraits:
        portraits = '<figure class="large"><span class="none">no picture kept</span></figure>'
    return (
        f'<article id="f{number}" aria-labelledby="h{number}"><div class="top">'
        f'<div><h3 id="h{number}">{name(shown)}</h3><p class="meta">{_meta(record, which)}</p>'
        f'</div><p class="says"><span class="dot c{face.best}" aria-hidden="true"></span>'
        f"<strong>{name(settings.labels[face.best])}</strong> "
        f'<span class="n">{percent(best)}</span> {_chips(face, threshold)}</p></div>'
        f'<div class="portraits">{portraits}</div>'
        f"<div><h4>All nets together</h4>"
        f"{charts.bars(settings.labels, face.probabilities, f'Probabilities, {shown}')}"
        f"{_by_net(settings, face)}</div></article>\n"
    )


def _by_net(settings: Settings, face: Face) -> str:
    if len(face.by_net) < 2:
        return ""
    apart = others(face)
    said = (
        f"{len(apart)} of {len(face.by_net)} {'finds' if len(apart) == 1 else 'find'} another "
        "label more probable"
        if apart
        else f"All {len(face.by_net)} find the same label most probable"
    )
    return f'<h4>Net by net</h4><p class="meta">{said}.</p>{charts.net_bars(settings.labels, face)}'


def _caption(kind: str) -> str:
    return name(kind).replace("_", "_<wbr>")


def _meta(record: Record, which: int) -> str:
    face = record.faces[which]
    parts = [name(record.path)]
    if record.frame is not None:
        parts.append(f"frame {record.frame:,}")
    if len(record.faces) > 1:
        parts.append(f"face {which + 1} of {len(record.faces)}")
    if face.box is not None:
        left, top, right, bottom = face.box
        parts.append(f"{right - left:.0f} &times; {bottom - top:.0f} px at {left:.0f}, {top:.0f}")
    if face.score is not None:
        parts.append(f"detector&rsquo;s score {face.score:.2f}")
    return " · ".join(parts)


def missing(found: Survey) -> Iterator[str]:
    """Give the inputs of which nothing is said, and why."""
    lists = (
        ("Failed", found.failed, found.failures),
        ("Without a face", found.faceless, found.without_face),
    )
    if not found.failed + found.faceless:
        return
    yield '<section id="missing">\n<h2>Not seen</h2>\n'
    for words, number, records in lists:
        if not number:
            continue
        opened = " open" if number <= _LONG else ""
        yield f"<details{opened}><summary>{words}: {number:,}</summary>"
        if number > LISTED:
            yield f'<p class="meta">The first {LISTED}. {_TABLE}</p>'
        yield '<ul class="listed">'
        for record in records:
            when = "" if record.time is None else f" · {clock(record.time, tenths=True)}"
            why = "" if record.error is None else f'<span class="why">{_why(record)}</span>'
            yield f"<li>{name(record.path)}{when}{why}</li>"
        yield "</ul></details>\n"
    yield "</section>\n"


def _why(record: Record) -> str:
    """Give an error without the path that stands above it."""
    said, path = str(record.error), f"{record.path}: "
    return name(said[len(path) :] if said.startswith(path) else said)


def made(settings: Settings, threshold: float) -> Iterator[str]:
    """Give what the records were made with."""
    yield '<section id="made">\n<h2>How it was made</h2>\n'
    general: dict[str, Any] = {
        "lbpmap": settings.version,
        "labels": ", ".join(settings.labels),
        "crops a face": settings.crops,
        "unsure below": percent(threshold) if threshold > 0 else "not marked",
    }
    if settings.every is not None:
        general["seconds between frames"] = f"{settings.every:g}"
    yield _listed(general)
    for title, entries in (("Finding faces", settings.faces), ("Combining nets", settings.fusion)):
        if entries:
            yield f"<h3>{title}</h3>{_listed(entries)}"
    yield '<h3>Nets</h3><ul class="cards">'
    for net in settings.nets:
        rest = {key: value for key, value in net.items() if key != "name"}
        yield f"<li><h4>{name(net.get('name', 'net'))}</h4>{_listed(rest)}</li>"
    yield "</ul>\n</section>\n"


def _listed(entries: Mapping[str, Any]) -> str:
    items = "".join(
        f"<dt>{name(words)}</dt><dd>{_value(value)}</dd>" for words, value in _flat(entries)
    )
    return f'<dl class="made">{items}</dl>\n'


def _flat(entries: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in entries.items():
        words = f"{above}{key}".replace("_", " ") if not above else f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{words}, ")
        else:
            yield words, value


def _value(value: Any) -> str:
    if value is None or value in ({}, [], ()):
        return '<span class="soft">none</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(part) for part in value)
    shown = str(value)
    if len(shown) == 64 and not set(shown) - set("0123456789abcdef"):
        return f"<code>{shown}</code>"
    return name(shown)


def meaning() -> str:
    """Give what such labels are, and are not for."""
    items = "".join(f"<li>{sentence}</li>" for sentence in _MEANING)
    return (
        f'<section id="meaning">\n<h2>What these labels are, and are not for</h2>\n'
        f"<ul>{items}</ul>\n</section>\n"
    )


def foot() -> str:
    """Give the end of the readable part."""
    return (
        "</main>\n<footer>The method: G. Levi and T. Hassner, Emotion Recognition in the Wild via "
        "Convolutional Neural Networks and Mapped Binary Patterns, ICMI 2015. This page is one "
        "file: it loads nothing and runs nothing, and keeps its records, to be added to, at its "
        "end.</footer>\n"
    )
