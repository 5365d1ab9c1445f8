"""The report in a real browser: telephone and desk, light and dark, no script, no network."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lbpmap.predict.html import write

spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
browser = importlib.util.module_from_spec(spec)
spec.loader.exec_module(browser)

pytestmark = pytest.mark.skipif(
    browser.find() is None, reason=f"none of {', '.join(browser.NAMES)} is installed"
)

WIDTHS = (360, 1280)

# Boxes of all that is seen and has words or is a picture, cut to what clips them.
BOXES = """(() => {
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    const words = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!words && !["IMG", "svg"].includes(e.tagName)) continue;
    if (!e.checkVisibility() || e.closest(".hidden, script, .stack")) continue;
    let {left, top, right, bottom} = e.getBoundingClientRect();
    for (let a = e.parentElement; a; a = a.parentElement) {
      if (getComputedStyle(a).overflowX === "visible") continue;
      const b = a.getBoundingClientRect();
      left = Math.max(left, b.left); right = Math.min(right, b.right);
      top = Math.max(top, b.top); bottom = Math.min(bottom, b.bottom);
    }
    found.push({e, left, top, right, bottom});
  }
  return found;
})()"""

OVERLAPS = f"""(() => {{
  const boxes = {BOXES}, hits = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {{
    const a = boxes[i], b = boxes[j];
    if (a.e.contains(b.e) || b.e.contains(a.e)) continue;
    if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
      hits.push(a.e.outerHTML.slice(0, 80) + " | " + b.e.outerHTML.slice(0, 80));
  }}
  return hits;
}})()"""

OUTSIDE = f"""{BOXES}.filter(b => b.left < -0.5 || b.right > innerWidth + 0.5)
  .map(b => b.e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory, settings, records):
    """Open the report of all records, with a long name everywhere where one can be."""
    folder = tmp_path_factory.mktemp("browser")
    path = folder / "report of a run.html"
    nets = ({**settings.nets[0], "name": "n" * 90}, *settings.nets[1:])
    longest = replace(records[0].faces[0], by_net={"n" * 90: records[0].faces[0].probabilities})
    more = [*records, replace(records[0], path="p" * 200, faces=(longest,))]
    write(path, replace(settings, nets=nets), lambda: more, title="t" * 90, threshold=0.4)
    with browser.open_page(browser.find(), folder / "profile") as page:
        page.look(1280)
        page.open(path)
        yield page


@pytest.mark.parametrize("width", WIDTHS)
def test_everything_has_its_place(shown, width):
    shown.look(width)
    assert shown.run("document.querySelectorAll('article').length") == 25
    assert shown.run("document.documentElement.scrollWidth") <= width
    assert shown.run(OUTSIDE) == []
    assert shown.run(f"{BOXES}.length") > 500
    assert shown.run(OVERLAPS) == []


def test_long_lists_open(shown):
    shown.look(360)
    shown.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert shown.run("document.documentElement.scrollWidth") <= 360
    assert shown.run(OVERLAPS) == []


def test_pictures_are_there(shown):
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert shown.run("document.images.length") == 6 * 25 + 25
    assert shown.run(broken) == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_light_and_dark(shown, width):
    seen = []
    for scheme in ("light", "dark"):
        shown.look(width, scheme)
        picture = np.asarray(Image.open(io.BytesIO(shown.picture())).convert("L"))
        assert picture.shape == (900, width)
        seen.append(picture)
    assert np.median(seen[0]) > 230
    assert np.median(seen[1]) < 40
    shown.look(width, "dark", media="print")
    assert np.median(np.asarray(Image.open(io.BytesIO(shown.picture())).convert("L"))) == 255


def test_links_lead_to_faces_by_keyboard(shown):
    shown.look(1280)
    shown.run("document.querySelector('#sheet a[href=\"#f3\"]').focus()")
    for kind in ("keyDown", "keyUp"):
        shown.ask(
            "Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, text="\r"
        )
    assert shown.run("document.querySelector(':target').id") == "f3"
    assert abs(shown.run("document.querySelector(':target').getBoundingClientRect().top")) < 50


def test_loads_and_runs_nothing(shown):
    asked = [
        event["params"]["request"]["url"]
        for event in shown.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    outside = [url for url in asked if not url.startswith("data:")]
    assert len(outside) == 1
    assert outside[0].startswith("file:")
    complaints = [event for event in shown.events if event["method"] == "Log.entryAdded"]
    assert complaints == []
    shown.run(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.ran = 1'}))"
    )
    assert shown.run("window.ran === undefined")
