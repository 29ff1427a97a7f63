"""The report in a real browser: silent console, players that play, nothing wider than a phone."""

import pytest
from browser import Browser
from test_report import make, quiet, settings_of

from search.report import page

pytestmark = pytest.mark.slow
DURATIONS = """Promise.all([...document.querySelectorAll('audio')].map(audio => new Promise(done => {
  const tell = () => done(audio.error ? -1 : audio.duration);
  if (audio.readyState || audio.error) tell();
  else { audio.onloadedmetadata = tell; audio.onerror = tell; audio.load(); } })))"""
WIDER = """[...document.querySelectorAll('main *')].filter(part =>
  !part.closest('.scroll, .wide, .wide-chart, pre, svg') && part.getBoundingClientRect().right > innerWidth + 1)
  .map(part => part.outerHTML.slice(0, 80))"""
CUT = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const field = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => { const box = text.getBoundingClientRect();
    return box.left < field.left - 1 || box.right > field.right + 1 || box.top < field.top - 1
      || box.bottom > field.bottom + 1; }).map(text => text.textContent); })"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("browser"))
    report = page.collect(folder, settings_of(folder), quiet)
    page.write(report, folder / "report.html", settings_of(folder))
    return folder / "report.html", len(report.confused)


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_the_console_is_silent_and_nothing_is_too_wide(browser, written, width, dark):
    browser.open(written[0], width, dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(WIDER) == []
    assert browser.run(CUT) == []  # no writing leaves its chart
    assert browser.troubles() == []


def test_every_player_has_a_sound(browser, written):
    browser.open(written[0])
    lengths = browser.run(DURATIONS)
    assert len(lengths) == written[1] > 0 and all(0.4 < length < 0.7 for length in lengths)
    assert browser.troubles() == []


def test_the_dark_is_dark_and_paper_is_light(browser, written):
    light = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    writing = "getComputedStyle(document.querySelector('svg text')).fill.match(/\\d+/g).map(Number)[0]"
    browser.open(written[0], dark=True)
    assert browser.run(light) < 60 and browser.run(writing) > 120
    browser.open(written[0])
    assert browser.run(light) > 200 and browser.run(writing) < 130
    browser.open(written[0], width=720, dark=True, media="print")
    assert browser.run(light) > 200 and browser.run(writing) < 130


def test_it_prints(browser, written):
    browser.open(written[0], width=720, media="print")
    assert browser.run("document.documentElement.scrollWidth") <= 720
    assert browser.pdf().startswith(b"%PDF")


def test_the_harness_sees_trouble(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><script>console.error('oh'); nothing()</script><img src='http://127.0.0.1:9/x.png'>"
    )
    browser.open(bad)
    told = " ".join(browser.troubles())
    assert "oh" in told and "nothing is not defined" in told and "request of http://127.0.0.1:9" in told
