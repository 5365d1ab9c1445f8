"""How the page looks: its colours, for light and dark rooms and for paper, and its style sheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Colours by name. Text and what it stands on are paired in `PAIRS`.
LIGHT = {
    "paper": "#f8f7f4",
    "card": "#ffffff",
    "ink": "#1c1d21",
    "soft": "#5a5c65",
    "line": "#e2e0d9",
    "track": "#eeece6",
    "link": "#1b5a96",
    "unsure": "#6f4300",
    "unsure-paper": "#fdeed6",
    "disagree": "#8c1d40",
    "disagree-paper": "#fce6ec",
}
DARK = {
    "paper": "#131418",
    "card": "#1b1d23",
    "ink": "#ebebef",
    "soft": "#a6a9b5",
    "line": "#2f323b",
    "track": "#2a2d35",
    "link": "#93c3f5",
    "unsure": "#f6cf95",
    "unsure-paper": "#3d2d14",
    "disagree": "#f7b3c6",
    "disagree-paper": "#42202c",
}

#: Which colour of text stands on which.
PAIRS = (
    *((text, ground) for text in ("ink", "soft", "link") for ground in ("paper", "card", "track")),
    ("unsure", "unsure-paper"),
    ("disagree", "disagree-paper"),
)

# P. Tol's "bright" scheme, which the colour-blind tell apart; its yellow stands for the smiling
# and its grey for the neutral faces.
_BRIGHT = ("#ee6677", "#228833", "#aa3377", "#ccbb44", "#bbbbbb", "#4477aa", "#66ccee")
_BY_NAME = dict(zip(("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"), _BRIGHT))
# More labels than colours: the same again, darker, then paler.
_ROUNDS = (("#000000", 0.0), ("#000000", 0.4), ("#ffffff", 0.45))
_ON_COLOURS = ("#ffffff", "#101114")


def label_colours(labels: Sequence[str]) -> list[str]:
    """Choose a colour for every label.

    The seven labels of the released nets have theirs wherever they stand; others take what is left,
    then shades of it. From the 22nd on colours come again: the page never says a thing by colour
    alone.

    Parameters
    ----------
    labels : sequence of str

    Returns
    -------
    list of str
        ``#rrggbb`` each.

    Examples
    --------
    >>> label_colours(["Happy", "smirk"])
    ['#ccbb44', '#4477aa']
    """
    known = [_BY_NAME.get(label.lower()) for label in labels]
    order = [_BRIGHT[i] for i in (5, 0, 1, 3, 6, 2, 4)]
    shades = [_mixed(colour, *round_) for round_ in _ROUNDS for colour in order]
    left = [shade for shade in shades if shade not in known] or shades
    chosen, taken = [], 0
    for colour in known:
        chosen.append(colour or left[taken % len(left)])
        taken += colour is None
    return chosen


def contrast(one: str, other: str) -> float:
    """Give the contrast of two colours, 1 to 21, as WCAG 2 defines it.

    Examples
    --------
    >>> contrast("#000000", "#ffffff")
    21.0
    """
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def text_on(colour: str) -> str:
    """Choose white or black letters for a ground."""
    return max(_ON_COLOURS, key=lambda letters: contrast(letters, colour))


def sheet(labels: Sequence[str]) -> str:
    """Write the style sheet of a page about these labels."""
    classes = "\n".join(
        f".c{i}{{--c:{colour};--t:{text_on(colour)}}}"
        for i, colour in enumerate(label_colours(labels))
    )
    return (
        f":root{{color-scheme:light dark;{_variables(LIGHT)}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}\n"
        f"@media print{{:root{{{_variables(LIGHT, '#ffffff')}}}}}\n{classes}\n{_RULES}"
    )


def _variables(colours: dict[str, str], paper: str | None = None) -> str:
    named = {**colours, "paper": paper} if paper else colours
    return ";".join(f"--{name}:{colour}" for name, colour in named.items())


def _channels(colour: str) -> Iterable[int]:
    return bytes.fromhex(colour[1:])


def _luminance(colour: str) -> float:
    parts = [c / 255 for c in _channels(colour)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mixed(colour: str, other: str, part: float) -> str:
    pairs = zip(_channels(colour), _channels(other))
    return "#" + bytes(round(a + (b - a) * part) for a, b in pairs).hex()


_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);line-height:1.5;
 font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,main,footer{max-width:72rem;margin:0 auto;padding:0 1.5rem}
h1,h2,h3,h4{line-height:1.2;margin:0;font-weight:600;letter-spacing:-.01em}
h1{font-size:2rem;letter-spacing:-.02em;overflow-wrap:anywhere}
h2{font-size:1.3rem}
h3{font-size:1rem;overflow-wrap:anywhere}
h4{font-size:.8125rem;color:var(--soft);font-weight:600;letter-spacing:0}
p{margin:.5rem 0 0;max-width:44rem}
a{color:var(--link);text-underline-offset:.15em}
a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:2px solid var(--link);
 outline-offset:3px;border-radius:4px}
ul,ol{list-style:none;margin:0;padding:0}
code{font:.8125em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.soft,.meta{color:var(--soft)}
.meta{font-size:.8125rem;overflow-wrap:anywhere}
.n{font-variant-numeric:tabular-nums;white-space:nowrap}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
 white-space:nowrap}
header{padding-top:3.5rem}
header .kind{margin:0 0 .5rem;font-size:.8125rem;font-weight:600;color:var(--soft)}
header .caution{border-left:3px solid var(--line);padding-left:.875rem;margin-top:1.25rem}
nav{margin-top:1.25rem}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;font-size:.9375rem}
section{margin-top:3.5rem}
section>h2+p{color:var(--soft)}
.figures{display:flex;flex-wrap:wrap;gap:1px;
 margin:1.25rem 0 0;background:var(--line);border:1px solid var(--line);border-radius:10px;
 overflow:hidden}
.figures div{flex:1 1 8.5rem;background:var(--card);padding:.875rem 1rem;display:flex;
 flex-direction:column-reverse;
 justify-content:flex-end}
.figures dt{font-size:.8125rem;color:var(--soft)}
.figures dd{margin:0;font-size:1.625rem;font-weight:600;letter-spacing:-.02em;line-height:1.25;
 font-variant-numeric:tabular-nums}
.dot{display:inline-block;width:.7em;height:.7em;border-radius:3px;background:var(--c);flex:none;
 -webkit-print-color-adjust:exact;print-color-adjust:exact}
.bars{width:100%;border-collapse:collapse;font-size:.875rem;table-layout:fixed}
.bars caption{text-align:left}
.bars th{width:7.5rem;font-weight:400;text-align:left;padding:.15rem .75rem .15rem 0;
 overflow-wrap:anywhere;vertical-align:middle}
.bars td{padding:.15rem 0;vertical-align:middle}
.bars td.n{width:3.25rem;text-align:right;color:var(--soft)}
.bars tr.best th,.bars tr.best td.n{font-weight:600;color:var(--ink)}
.bar{display:block;height:.75rem;border-radius:3px;background:var(--track);overflow:hidden}
.bar i{display:block;height:100%;background:var(--c);border-radius:3px}
.bar,.bar i,.stack,.stack i{-webkit-print-color-adjust:exact;print-color-adjust:exact}
#counts{margin-top:1.75rem}
#counts .bars{max-width:44rem;margin-top:.5rem;font-size:.9375rem}
#counts .bars td.n{width:8rem}
#counts .bar{height:1rem}
.chip{display:inline-block;font-size:.75rem;font-weight:600;line-height:1.25rem;padding:0 .5rem;
 border-radius:99px;background:var(--track);color:var(--soft);white-space:nowrap}
.chip.unsure{background:var(--unsure-paper);color:var(--unsure)}
.chip.disagree{background:var(--disagree-paper);color:var(--disagree)}
#sheet ol{display:grid;grid-template-columns:repeat(auto-fill,minmax(7.5rem,1fr));
 gap:1.125rem .875rem;
 margin-top:1.25rem}
#sheet li{min-width:0;font-size:.8125rem;line-height:1.35}
#sheet a{display:block;color:inherit;text-decoration:none}
#sheet img,#sheet .none{width:100%;height:auto;aspect-ratio:1;object-fit:cover;
 border-radius:8px;background:var(--track);margin-bottom:.375rem}
#sheet a:hover img,#sheet a:hover .none{outline:2px solid var(--link);outline-offset:2px}
#sheet img{display:block}
#sheet .says{display:block}
#sheet .says .dot,#sheet .says bdi{margin-right:.35rem}
#sheet .says bdi{font-weight:600;overflow-wrap:anywhere}
#sheet .says .n{color:var(--soft)}
#sheet .file{display:block;color:var(--soft);font-size:.75rem;overflow:hidden;
 text-overflow:ellipsis;white-space:nowrap}
#sheet .chip{margin-top:.25rem;font-size:.6875rem;line-height:1.125rem;padding:0 .4rem}
.none{display:grid;place-items:center;color:var(--soft);font-size:.75rem;text-align:center}
.tiny{image-rendering:pixelated}
article{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.25rem;
 margin-top:1rem;display:grid;grid-template-columns:15.5rem minmax(0,1fr);gap:1rem 2rem}
article:target{border-color:var(--link);box-shadow:0 0 0 1px var(--link)}
article>div{min-width:0}
article .top{grid-column:1/-1}
article .says{display:flex;flex-wrap:wrap;gap:.25rem .5rem;align-items:center;margin:.5rem 0 0;
 overflow-wrap:anywhere}
article .meta{margin-top:.25rem}
.portraits{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.75rem .5rem;
 align-content:start}
figure{margin:0;min-width:0}
figure img,figure .none{width:100%;height:auto;aspect-ratio:1;object-fit:contain;
 background:var(--track);border-radius:6px}
figure img{display:block}
figure.large{grid-column:span 2;grid-row:span 2}
figure.large img,figure.large .none{border-radius:8px}
figcaption{font-size:.6875rem;line-height:1.3;color:var(--soft);margin-top:.25rem;
 overflow-wrap:anywhere}
article h4{margin:1.25rem 0 .375rem}
article h4:first-child{margin-top:0}
article h4+p{margin:0 0 .5rem}
.nets li{display:grid;grid-template-columns:minmax(0,11rem) minmax(0,1fr) 9.5rem;gap:0 .75rem;
 align-items:center;font-size:.8125rem;padding:.1875rem 0}
.nets .net{overflow-wrap:anywhere;line-height:1.25}
.nets .verdict{display:flex;gap:.35rem;align-items:baseline;min-width:0;line-height:1.25}
.nets .verdict bdi{overflow-wrap:anywhere}
.nets .differs{font-weight:600}
.nets .differs .mark{color:var(--disagree);font-weight:700}
.stack{display:flex;gap:1px;height:1.25rem;border-radius:4px;overflow:hidden;
 background:var(--track)}
.stack i{display:block;background:var(--c);color:var(--t);min-width:0;font-style:normal;
 font-size:.6875rem;line-height:1.25rem;text-align:center;overflow:hidden;white-space:nowrap;
 text-overflow:clip}
details{margin-top:.75rem}
summary{cursor:pointer;font-size:.9375rem;color:var(--link)}
summary .chip{margin-left:.25rem}
.listed{margin-top:.5rem;font-size:.875rem}
.listed li{padding:.5rem 0;border-top:1px solid var(--line);overflow-wrap:anywhere}
.listed .why{display:block;color:var(--soft)}
.video{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.25rem;
 margin-top:1rem}
.video svg{display:block;width:100%;height:10rem;margin-top:1rem;background:var(--track);
 border-radius:4px;-webkit-print-color-adjust:exact;print-color-adjust:exact}
.video path{fill:var(--c)}
.video .half{stroke:var(--ink);stroke-opacity:.35;stroke-width:1;stroke-dasharray:3 4;
 vector-effect:non-scaling-stroke;fill:none}
.plot{display:grid;grid-template-columns:2.75rem minmax(0,1fr)}
.plot .up{display:flex;flex-direction:column;justify-content:space-between;height:10rem;
 margin-top:1rem;font-size:.6875rem;line-height:1;color:var(--soft);text-align:right;
 padding-right:.5rem}
.plot .along{grid-column:2;display:flex;justify-content:space-between;font-size:.75rem;
 color:var(--soft);margin-top:.25rem}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.125rem;margin-top:.875rem;font-size:.8125rem}
.legend li{display:flex;gap:.375rem;align-items:baseline;min-width:0;overflow-wrap:anywhere}
.legend .n{color:var(--soft)}
dl.made{display:grid;grid-template-columns:minmax(7rem,max-content) minmax(0,1fr);
 gap:.25rem 1.25rem; font-size:.875rem;margin:.75rem 0 0}
dl.made dt{color:var(--soft);overflow-wrap:anywhere}
dl.made dd{margin:0;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:1rem;
 margin-top:.75rem}
.cards>li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem}
.cards h4{color:var(--ink);font-size:.9375rem;overflow-wrap:anywhere}
#made h3{margin-top:1.75rem}
#meaning li{margin-top:.625rem;max-width:44rem;padding-left:1.125rem;position:relative}
#meaning li::before{content:"";position:absolute;left:0;top:.68em;width:.375rem;height:.125rem;
 background:var(--soft)}
footer{margin-top:4rem;padding-top:1.25rem;padding-bottom:3rem;font-size:.8125rem;
 color:var(--soft)}
@media (max-width:56rem){
.nets li{grid-template-columns:minmax(0,1fr) auto;gap:.125rem .75rem;padding:.3125rem 0}
.nets .stack{grid-column:1/-1;grid-row:2}
}
@media (max-width:44rem){
header,main,footer{padding-left:1rem;padding-right:1rem}
header{padding-top:2rem}
h1{font-size:1.625rem}
section{margin-top:2.75rem}
.figures div{flex-basis:45%}
article,.video{padding:1rem}
article{grid-template-columns:minmax(0,1fr)}
#sheet ol{grid-template-columns:repeat(auto-fill,minmax(6rem,1fr))}
.portraits{grid-template-columns:repeat(4,minmax(0,1fr))}
figure img{display:block}
.bars th{width:6rem}
#counts .bars td.n{width:6rem}
dl.made{grid-template-columns:minmax(0,1fr);gap:0}
dl.made dd{margin-bottom:.5rem}
}
@media print{
body{font-size:10pt}
header{padding-top:0}
nav{display:none}
details::details-content{content-visibility:visible;block-size:auto}
section{margin-top:2rem}
article,.video,.cards>li,#sheet li,.bars tr,.listed li{break-inside:avoid}
h2,h3,h4{break-after:avoid}
a{color:inherit;text-decoration:none}
}
"""
