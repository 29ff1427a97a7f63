"""Pictures of a data set, its page, and the commands that make them."""

import base64
import html
import json
import re
import shutil
import subprocess
from io import BytesIO

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread
from test_audio import tone

from search.datasets import synthetic
from search.datasets.clip import Clip
from search.datasets.dataset import open_dataset
from search.datasets.looks import gallery
from search.datasets.looks.pictures import choose, hear, plain
from search.errors import Failure

EVIL = "<script>alert('x')<"  # a folder name cannot hold a slash


def write(root, label, name, wave, rate=16000, **options):
    (root / label).mkdir(parents=True, exist_ok=True)
    soundfile.write(root / label / name, wave, rate, **options)


@pytest.fixture
def sounds(tmp_path):
    root = tmp_path / "My Sounds"
    for label, hz in (("Low hum", 200), ("high", 3000)):
        for take in range(3):
            write(root, label, f"{take}.wav", tone(0.5, 16000, hz) * (take + 1) / 4)
    return root


@pytest.fixture(scope="module")
def mess(tmp_path_factory):
    """What real folders hold: odd lengths, rates and names, silence, files that are none."""
    root = tmp_path_factory.mktemp("mess") / "mess $5 & more"
    write(root, EVIL, "a.wav", tone(1.0, 16000))
    write(root, "price $5 or $6", "a.wav", tone(0.05, 44100), 44100)
    write(root, "bat", "a.wav", tone(1.0, 192000, 40000), 192000)
    write(root, "phone", "a.wav", tone(70.0, 8000), 8000)
    write(root, "silence", "a.wav", np.zeros(8000))
    write(root, "one sample", "a.wav", np.ones(1))
    write(root, "\u9ce5 " + "long name " * 12, "a.wav", np.concatenate([tone(0.5, 16000), np.zeros(8000)]))
    (root / "silence" / "empty.wav").touch()
    (root / "bat" / "text.wav").write_text("no sound")
    write(root, "bat", "nan.wav", np.array([0.1, np.nan]), subtype="FLOAT")
    return root


@pytest.fixture(scope="module")
def mess_shown(mess, tmp_path_factory):
    return made(mess, tmp_path_factory.mktemp("shown"))


def made(root, out_dir, **options):
    return gallery.make(open_dataset(root, **({"folds": 0, "skip_bad": True} | options)), out_dir)


def test_one_picture_a_class_in_the_order_of_the_classes_and_those_of_the_whole(sounds, tmp_path):
    result = made(sounds, tmp_path / "out" / "deep")
    assert [shown.picture.name for shown in result.classes] == ["00_low_hum.png", "01_high.png"]
    whole = [result.contact_sheet, result.balance, result.durations]
    assert [path.name for path in whole] == ["contact_sheet.png", "balance.png", "durations.png"]
    for path in [shown.picture for shown in result.classes] + whole:
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 3_000
    assert sorted(path.name for path in result.page.parent.iterdir()) == sorted(
        ["index.html", *(path.name for path in whole), "00_low_hum.png", "01_high.png"]
    )


def test_the_typical_clip_is_of_median_loudness_between_a_quieter_and_a_louder_one(sounds):
    for take, level in enumerate((0.2, 0.9, 0.05)):
        write(sounds, "high", f"{take}.wav", tone(0.5, 16000) * level)
    (sounds / "high" / "3.wav").write_bytes(b"nothing")
    choice = choose([clip for clip in open_dataset(sounds, folds=0).clips if clip.label == "high"])
    assert choice.typical.name == "high/0.wav" and list(choice.bad) == ["high/3.wav"]
    assert [(kind, clip.name) for kind, clip in choice.others] == [
        ("quieter", "high/2.wav"),
        ("louder", "high/1.wav"),
    ]


def test_a_class_of_one_or_two_clips_shows_each_once(sounds):
    clips = open_dataset(sounds, folds=0).clips[:3]
    for count in (1, 2, 3):
        choice = choose(clips[:count])
        names = [choice.typical.name, *(clip.name for _, clip in choice.others)]
        assert len(names) == len(set(names)) == count


def test_bad_clips_are_left_out_until_none_is_left(sounds, tmp_path):
    (sounds / "high" / "1.wav").write_bytes(b"nothing")
    result = made(sounds, tmp_path / "out")
    assert [name for name, _ in result.dataset.skipped] == ["high/1.wav"]
    assert {shown.label: shown.clips for shown in result.classes} == {"Low hum": 3, "high": 2}
    for take in range(3):
        (sounds / "high" / f"{take}.wav").write_bytes(b"nothing")
    with pytest.raises(Failure, match="class high: none of 3 clips tried can be decoded, last: high/2.wav"):
        made(sounds, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_one_sentence(sounds, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="pictures cannot be written"):
        made(sounds, tmp_path / "file" / "out")


def test_lengths_are_those_of_the_decoded_clips_and_windows_count_as_they_are(tmp_path):
    clips = []
    for name, rate, seconds in (("a.wav", 8000, 0.7), ("b.flac", 44100, 0.01), ("c.ogg", 22050, 1.3)):
        soundfile.write(tmp_path / name, tone(seconds, rate), rate)
        clips.append(Clip(name, tmp_path / name, "x", 0, name))
    clips.append(Clip("window", tmp_path / "a.wav", "x", 0, "a", 0.2, 0.5))
    clips.append(Clip("rest", tmp_path / "a.wav", "x", 0, "a", 0.2))
    clips.append(Clip("beyond", tmp_path / "a.wav", "x", 0, "a", 0.2, 9.0))
    clips.append(Clip("gone", tmp_path / "gone.wav", "x", 0, "a"))
    seconds, rates, bad = gallery.measure(clips)
    assert list(bad) == ["beyond", "gone"] and all(reason for reason in bad.values())
    assert seconds["window"] == pytest.approx(0.3) and seconds["rest"] == pytest.approx(0.5)
    for clip in clips[:3]:
        wave, rate = hear(clip)
        assert (seconds[clip.name], rates[clip.name]) == (pytest.approx(len(wave) / rate), rate)


def test_the_mess_of_real_folders_is_drawn(mess_shown):
    result = mess_shown
    assert {name for name, _ in result.dataset.skipped} == {
        "silence/empty.wav",
        "bat/text.wav",
        "bat/nan.wav",
    }
    assert len(result.dataset.clips) == 7 and result.rates == {8000: 1, 16000: 4, 44100: 1, 192000: 1}
    for shown in result.classes:
        assert np.ptp(imread(shown.picture)[..., :3]) > 0.5


def test_names_are_shown_on_one_line_and_never_as_a_formula():
    assert plain("dog_bark\n $x$") == r"dog bark \$x\$"
    assert len(plain("word " * 99, 30)) == 30


def test_the_page_is_one_file_in_which_no_name_is_markup(mess_shown):
    page = mess_shown.page.read_text(encoding="utf-8")
    assert "<script" not in page and html.escape(EVIL, quote=False).replace("'", "&#39;") in page
    assert not re.search(r"https?://", page)
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith(("data:", "#"))
    for target in re.findall(r'href="#([^"]*)"', page):
        assert f'id="{target}"' in page
    assert "silence/empty.wav: the file is empty (0 bytes)" in page


def test_every_player_plays_its_clip_at_its_length(sounds, tmp_path):
    result = made(sounds, tmp_path / "out")
    page = result.page.read_text(encoding="utf-8")
    uris = re.findall(r'<audio[^>]+src="data:audio/mpeg;base64,([^"]+)"', page)
    assert len(uris) == 6
    for row, uri in enumerate(uris):
        wave, rate = soundfile.read(BytesIO(base64.b64decode(uri)))
        assert len(wave) == 0.5 * rate
        peak = np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave)
        assert peak == pytest.approx((200, 3000)[row // 3], abs=2)


def test_synth_then_show_prints_paths(escsearch, tmp_path, monkeypatch):
    monkeypatch.setitem(synthetic.write_esc50_folder.__kwdefaults__, "seconds", 0.25)
    code, printed, _ = escsearch("synth", tmp_path / "set", "--seed", 4, "--json")
    assert (code, json.loads(printed)["clips"], json.loads(printed)["seed"]) == (0, 400, 4)
    code, printed, remarks = escsearch("synth", tmp_path / "set", "--force")
    assert printed.strip() == str(tmp_path / "set") and "synthetic" in remarks
    code, printed, remarks = escsearch("show", tmp_path / "set", "--classes", "bark,rain")
    assert (
        code == 0
        and "01_rain.png" in "".join(printed.split())
        and "synthetic" in remarks
        and "80 clips" in remarks
    )
    page = tmp_path / "home" / "pictures" / "synthetic-bark-rain" / "index.html"
    assert str(page) in remarks and "made by a generator" in page.read_text(encoding="utf-8")


def test_show_names_the_licence_the_pictures_and_what_is_left_out(escsearch, sounds, tmp_path):
    (sounds / "high" / "0.wav").write_bytes(b"")
    code, printed, remarks = escsearch("show", sounds, "--source-regex", r"(.)\.wav")
    assert code == 0 and "00_low_hum.png" in printed and "licence not known" in remarks
    assert "left out: high/0.wav: the file is empty (0 bytes)" in remarks and "index.html" in remarks
    code, printed, _ = escsearch("show", sounds, "--out", tmp_path / "out", "--json")
    report = json.loads(printed)
    assert report["clips"] == {"Low hum": 3, "high": 2} and not report["official_folds"]
    assert report["pictures"] == [str(tmp_path / "out" / name) for name in ("00_low_hum.png", "01_high.png")]
    assert report["page"] == str(tmp_path / "out" / "index.html")
    assert report["left_out"] == [{"clip": "high/0.wav", "reason": "high/0.wav: the file is empty (0 bytes)"}]
    hum = report["classes"][0]
    assert (hum["clips"], hum["sources"], hum["folds"], hum["seconds"]["median"]) == (3, 3, {}, 0.5)


def test_folds_are_shown_where_they_are_asked_for(escsearch, sounds):
    report = json.loads(escsearch("show", sounds, "--folds", 3, "--json")[1])
    assert [shown["folds"] for shown in report["classes"]] == [{"1": 1, "2": 1, "3": 1}] * 2


def test_open_hands_the_page_to_the_browser(escsearch, sounds, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)))
    _, _, remarks = escsearch("show", sounds, "--out", tmp_path / "out", "--open")
    assert opened == [(tmp_path / "out" / "index.html").as_uri()] and "no browser" in remarks


PROBE = """<script>
const sounds = [...document.querySelectorAll("audio")];
Promise.all(sounds.map(a => new Promise(done => {
  a.preload = "metadata"; a.onloadedmetadata = done; a.onerror = done; a.load(); }))).then(() => {
  parent.document.title = JSON.stringify({
    seconds: sounds.map(a => a.duration),
    wide: [...document.querySelectorAll("body, body *")].filter(e => !e.closest(".scroll, .wide")
      && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80)),
    scrolls: document.documentElement.scrollWidth, inner: innerWidth }); });
</script></body>"""


@pytest.mark.slow
def test_a_browser_plays_every_sound_and_the_page_fits_a_phone(mess_shown, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here: the page was not opened in a browser")
    result = mess_shown
    page = result.page.read_text(encoding="utf-8")
    page = re.sub(r"<meta http-equiv.*?>", "", page, flags=re.DOTALL).replace("</body>", PROBE)
    # Windows are not made narrower than 500 px: the phone is a frame of 375.
    frame = f'<iframe style="width: 375px; height: 700px; border: 0" srcdoc="{html.escape(page)}"></iframe>'
    (tmp_path / "probe.html").write_text(f"<!doctype html><title></title>{frame}", encoding="utf-8")
    dump = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        + ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        + [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"]
        + ["--dump-dom", (tmp_path / "probe.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dump, re.DOTALL)[1]))
    lengths = {clip.name: len(hear(clip)[0]) / hear(clip)[1] for clip in result.dataset.clips}
    shown = [min(10.0, max(0.3, lengths[part.typical])) for part in result.classes]
    assert found["seconds"] == pytest.approx(shown, abs=0.1)
    assert found["inner"] == 375 and found["wide"] == [] and found["scrolls"] <= found["inner"]
