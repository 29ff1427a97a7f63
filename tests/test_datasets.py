"""Listing data sets: layouts, official folds, made folds, and one sentence for every mistake."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from search.datasets.clip import Clip
from search.datasets.dataset import FORMATS, open_dataset
from search.datasets.esc50 import COLUMNS
from search.datasets.folders import make_folds
from search.errors import Failure, UsageError


def esc50(root: Path, rows: list[tuple[object, ...]] | None = None, columns=COLUMNS) -> Path:
    """A folder of the shape of ESC-50: sounds are empty files, listing never opens them."""
    if rows is None:
        rows = [
            (
                f"{fold}-{100 * fold + target}-A-{target}.wav",
                fold,
                target,
                name,
                name == "dog",
                100 * fold + target,
                "A",
            )
            for fold in range(1, 6)
            for target, name in enumerate(("dog", "rooster", "pig"))
            for src in (100 * fold + target,)
        ]
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    for row in rows:
        (root / "audio" / str(row[0])).touch()
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return root


def folders(root: Path, files: dict[str, list[str]]) -> Path:
    for label, names in files.items():
        (root / label).mkdir(parents=True)
        for name in names:
            (root / label / name).touch()
    return root


def sources_by_fold(clips):
    found = defaultdict(set)
    for clip in clips:
        found[clip.source].add(clip.fold)
    return found


def test_esc50_is_its_table(tmp_path):
    dataset = open_dataset(esc50(tmp_path))
    assert (dataset.format, dataset.name, dataset.classes) == ("esc50", "esc50", ("dog", "rooster", "pig"))
    assert dataset.official_folds and dataset.fold_seed is None and not dataset.synthetic
    assert (dataset.licence, dataset.non_commercial) == ("CC BY-NC 3.0", True)
    first = dataset.clips[0]
    assert (first.name, first.label, first.fold, first.source) == ("1-100-A-0", "dog", 1, "100")
    assert all(clip.path.exists() for clip in dataset.clips)


def test_the_esc10_subset_follows_its_column(tmp_path):
    dataset = open_dataset(esc50(tmp_path), subset="esc10")
    assert (dataset.name, dataset.classes, len(dataset.clips)) == ("esc10", ("dog",), 5)
    assert (dataset.licence, dataset.non_commercial) == ("CC BY 3.0", False)


def test_esc10_is_its_folders_and_file_names(tmp_path):
    dataset = open_dataset(
        folders(
            tmp_path,
            {"001 - Dog bark": ["1-30226-A.ogg", "2-30226-B.ogg"], "002 - Rain": ["5-7-A.ogg"], "notes": []},
        )
    )
    assert (dataset.format, dataset.name, dataset.classes) == ("esc10", "esc10", ("dog_bark", "rain"))
    assert [(clip.name, clip.fold, clip.source) for clip in dataset.clips] == [
        ("1-30226-A", 1, "30226"),
        ("2-30226-B", 2, "30226"),
        ("5-7-A", 5, "7"),
    ]


def test_the_real_esc10_has_its_official_shape(esc10_root):
    dataset = open_dataset(esc10_root)
    assert len(dataset.clips) == len({clip.name for clip in dataset.clips}) == 400
    assert len(dataset.classes) == 10 and "dog_bark" in dataset.classes
    assert set(Counter((clip.label, clip.fold) for clip in dataset.clips).values()) == {8}
    assert Counter(clip.fold for clip in dataset.clips) == {fold: 80 for fold in range(1, 6)}
    by_source = sources_by_fold(dataset.clips)
    assert len(by_source) == 304 and all(len(folds) == 1 for folds in by_source.values())
    assert (dataset.licence, dataset.non_commercial, dataset.official_folds) == ("CC BY 3.0", False, True)


def own_recordings(root: Path) -> Path:
    """3 classes, 7 recordings each, 4 pieces a recording, two formats."""
    pieces = [(take, piece, "WAV" if piece % 2 else "flac") for take in range(7) for piece in range(4)]
    return folders(
        root,
        {
            label: [f"{label}{take}_{piece}.{suffix}" for take, piece, suffix in pieces]
            for label in ("cat", "cow", "hen")
        },
    )


@pytest.mark.parametrize("seed", range(5))
def test_made_folds_never_split_a_source_and_hold_every_class(tmp_path, seed):
    dataset = open_dataset(own_recordings(tmp_path / "Farm"), source_regex=r"^([a-z]+\d)_", seed=seed)
    assert (dataset.format, dataset.name, dataset.official_folds) == ("folders", "farm", False)
    assert dataset.fold_seed == seed
    by_source = sources_by_fold(dataset.clips)
    assert len(by_source) == 21 and all(len(folds) == 1 for folds in by_source.values())
    assert len({(clip.label, clip.fold) for clip in dataset.clips}) == 3 * 5


def test_made_folds_are_seeded(tmp_path):
    root = own_recordings(tmp_path)
    folds = [[clip.fold for clip in open_dataset(root, seed=seed).clips] for seed in (0, 0, 1)]
    assert folds[0] == folds[1] != folds[2]


def test_without_an_expression_every_file_is_its_own_source(tmp_path):
    dataset = open_dataset(own_recordings(tmp_path), folds=4)
    assert len({clip.source for clip in dataset.clips}) == len(dataset.clips) == 84
    assert set(Counter((clip.label, clip.fold) for clip in dataset.clips).values()) == {7}


def test_one_recording_cut_into_two_classes_is_one_source():
    clips = [
        Clip(f"{label}/{take}", Path(), label, 0, f"take{take}") for take in range(6) for label in ("a", "b")
    ]
    dealt = make_folds(clips, 3, 0)
    assert [dealt[row] for row in range(0, 12, 2)] == [dealt[row] for row in range(1, 12, 2)]


def test_looking_needs_no_folds(tmp_path):
    dataset = open_dataset(folders(tmp_path, {"a": ["1.wav"], "b": ["1.wav"]}), folds=0)
    assert {clip.fold for clip in dataset.clips} == {0} and dataset.fold_seed is None


def test_hidden_files_and_other_files_are_no_clips(tmp_path):
    files = {label: [f"{take}.mp3" for take in range(5)] for label in ("a", "b")}
    files["a"] += ["._0.mp3", "notes.txt"]
    files[".git"] = ["x.wav"]
    assert len(open_dataset(folders(tmp_path, files)).clips) == 10


def test_the_given_format_wins_over_what_is_recognised(tmp_path):
    root = folders(esc50(tmp_path), {"001 - Dog": ["1-2-A.ogg"]})
    assert open_dataset(root).format == "esc50"
    assert open_dataset(root, format="esc10").format == "esc10"


def test_every_layout_is_named_when_none_is_found(tmp_path):
    (tmp_path / "some.wav").touch()
    with pytest.raises(UsageError) as caught:
        open_dataset(tmp_path)
    for known in FORMATS.values():
        assert known.looks_like in str(caught.value)


def test_wrong_requests_are_one_sentence_and_exit_2(tmp_path):
    farm = own_recordings(tmp_path / "farm")
    esc = esc50(tmp_path / "esc")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.wav").touch()
    odd = folders(tmp_path / "odd", {"001 - Dog": ["1-2-A.ogg", "dog.ogg"]})
    one = folders(tmp_path / "one", {"dog": ["1.wav", "2.wav", "3.wav"]})
    for path, options, reason in [
        (tmp_path / "none", {}, "none: no such folder"),
        (tmp_path / "empty", {}, "is an empty folder: looked for meta/esc50.csv"),
        (tmp_path / "file.wav", {}, "is a file"),
        (farm, {"format": "esc51"}, "unknown format 'esc51', known: esc50, esc10, folders"),
        (farm, {"format": "esc50"}, "is not ESC-50: looked for meta/esc50.csv"),
        (farm, {"format": "esc10"}, "is not ESC-10: looked for folders such as"),
        (tmp_path / "empty", {"format": "folders"}, "has no classes"),
        (farm, {"subset": "esc10"}, "--subset 'esc10' belongs to format esc50"),
        (esc, {"subset": "esc11"}, "unknown subset 'esc11' of ESC-50, known: esc10"),
        (esc, {"source_regex": "(.)"}, "--source-regex .* belongs to format folders"),
        (farm, {"source_regex": "("}, "is no regular expression"),
        (farm, {"source_regex": "cat"}, "has no group"),
        (farm, {"source_regex": "(cat)"}, "cow/.*finds no source"),
        (farm, {"folds": 2}, "2 folds are too few"),
        (odd, {}, "001 - Dog/dog.ogg: expected a name like"),
        (one, {}, "one class only"),
    ]:
        with pytest.raises(UsageError, match=reason) as caught:
            open_dataset(path, **options)
        assert "\n" not in str(caught.value) and caught.value.code == 2


def test_too_few_sources_are_counted(tmp_path):
    root = own_recordings(tmp_path)
    with pytest.raises(
        Failure, match="too few sources for 8 folds: cat has 7, cow has 7, hen has 7"
    ) as caught:
        open_dataset(root, folds=8, source_regex=r"^([a-z]+\d)_")
    assert caught.value.code == 1


def shared(pairs: str) -> list[Clip]:
    """Clips from words such as "a1": class a, source 1."""
    return [Clip(pair, Path(), pair[0], 0, pair[1]) for pair in pairs.split()]


def test_a_poor_first_deal_is_dealt_again():
    clips = shared("a0 b0 c0 a1 a2 c2 b3 b5 a6 c6")  # the first shuffle leaves a fold without a class
    dealt = make_folds(clips, 3, 0)
    assert len({(clip.label, fold) for clip, fold in zip(clips, dealt, strict=True)}) == 9


def test_a_class_that_cannot_reach_every_fold_is_named():
    with pytest.raises(Failure, match="class . does not reach fold . of 3: its clips share sources"):
        make_folds(shared("a1 a2 a3 b1 b2 b4 c1 c3 c4"), 3, 0)


ROW = ("1-1-A-0.wav", 1, 0, "dog", "True", 1, "A")


@pytest.mark.parametrize(
    ("rows", "columns", "reason"),
    [
        (
            [ROW],
            ("filename", "folder", *COLUMNS[2:]),
            r"esc50.csv has no column 'fold': found filename,folder,",
        ),
        (
            [("1.wav", "x", 0, "dog", "True", 1, "A")],
            COLUMNS,
            "esc50.csv:2: fold is 'x', expected a whole number",
        ),
        ([ROW, ("2.wav", 0, 0, "dog", "True", 1, "A")], COLUMNS, "esc50.csv:3: fold is '0'"),
        ([("1.wav", 1, -1, "dog", "True", 1, "A")], COLUMNS, "esc50.csv:2: target is '-1'"),
        (
            [ROW, ("2.wav", 1, 0, "cat", "True", 1, "A")],
            COLUMNS,
            "esc50.csv:3: target 0 is both 'dog' and 'cat'",
        ),
        ([ROW, ("2.wav", 1, 1, "dog", "True", 1, "A")], COLUMNS, "one category stands under two targets"),
        ([ROW, ROW], COLUMNS, "a file stands in the table twice"),
        ([ROW[:3]], COLUMNS, "esc50.csv:2: column 'category' is empty"),
        ([(*ROW, "more")], COLUMNS, "esc50.csv:2: more values than columns"),
        ([], COLUMNS, "no clip in the table"),
    ],
)
def test_mistakes_in_the_table_are_named_with_file_and_line(tmp_path, rows, columns, reason):
    with pytest.raises(UsageError, match=reason):
        open_dataset(esc50(tmp_path, rows, columns))


def test_a_table_that_is_no_text_is_refused(tmp_path):
    (esc50(tmp_path) / "meta" / "esc50.csv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UsageError, match="cannot be read as a CSV table"):
        open_dataset(tmp_path)


def test_a_missing_sound_is_named_or_left_out_by_name(tmp_path):
    (esc50(tmp_path) / "audio" / "2-201-A-1.wav").unlink()
    with pytest.raises(Failure, match=r"1 of 15 files .* 2-201-A-1.wav: listed in .* --skip-bad") as caught:
        open_dataset(tmp_path)
    assert caught.value.code == 1
    dataset = open_dataset(tmp_path, skip_bad=True)
    assert len(dataset.clips) == 14
    assert [name for name, _ in dataset.skipped] == ["2-201-A-1"]


def test_sources_that_esc50_holds_twice_are_known(tmp_path):
    assert "209698" in open_dataset(esc50(tmp_path)).shared_sources
