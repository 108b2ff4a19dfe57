"""report.html: what it says, that nothing in it comes from elsewhere, that names stay names."""

import base64
import dataclasses
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from calibration import tally_hits
from conftest import Clone
from PIL import Image

from shotcount.classifier import gallery
from shotcount.core import tables
from shotcount.core.errors import printable
from shotcount.core.params import load_params
from shotcount.core.stage import recorded_seconds, time_taken
from shotcount.core.study import stage_runs
from shotcount.findings.answer import Answer, answer_study
from shotcount.findings.compare import score_by_views
from shotcount.findings.learning import learn_all, with_intervals
from shotcount.findings.settings import AnswerSettings
from shotcount.findings.study import details, parts
from shotcount.findings.tables import as_table, metrics_tables
from shotcount.params import Params
from shotcount.report import charts, page
from shotcount.scoring.mistakes import MISTAKES
from shotcount.scoring.suspects import SUSPECTS
from shotcount.scoring.tallies import Tally
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.metrics import METRICS

LABELS = ["<b>x</b>", 'it\'s "y" & z']
PATH = "<img src=x onerror=alert(1)>/\"quote'\n<script>alert(1)</script>.jpg"
REASON = "one photo in several classes: <i>a</i>, b"
CHARTS = ("accuracy_vs_size", "samples_and_angles", "views_at_test_time")
SIZES = list(product((8, 16, 32), (1, 2, 4)))


def of_two_classes(right: np.ndarray, shown: np.ndarray) -> Tally:
    tally = tally_hits(right, shown)
    actual = tally.sample % 2
    return dataclasses.replace(
        tally, actual=actual, named=np.where(tally.named == 1, actual, 1 - actual)
    )


def make_results(metric: str = "accuracy") -> tuple[dict[str, pd.DataFrame], Answer]:
    """Answer a study of three strategies whose accuracies are given; classes take turns."""
    rng = np.random.default_rng(0)
    shown = np.repeat(np.arange(40), 4)
    rows, hits, tallies, history = [], {}, {}, []
    for strategy, shift in (("scratch", -0.2), ("frozen", 0.1), ("finetune", 0.05)):
        for n, k in SIZES:
            cell = {"strategy": strategy, "samples": n, "angles": k, "photos": n * k}
            accuracy = 0.85 + shift - (n * k) ** -0.6
            right = rng.random((3, len(shown))) < accuracy
            hits[strategy, n, k] = right.astype(float)
            tallies[strategy, n, k] = of_two_classes(right, shown)
            scores = dict.fromkeys(("balanced_accuracy", "macro_f1"), accuracy)
            rows.append(cell | scores | {"seeds": 3, "log_loss": 0.5, "ece": 0.1})
            rows[-1]["accuracy"] = right.mean()
            history += [
                cell | {"seed": seed, "step": step, "epoch": step / 10, "learning_rate": 0.1,
                        "train_loss": 0.5, "val_loss": 1 / step, "val_accuracy": accuracy,
                        "kept": step == 30}
                for seed in range(3) for step in (10, 20, 30)
            ]  # fmt: skip
    scores = pd.DataFrame(rows)
    learnings = learn_all(scores, tallies, METRICS[metric], 200, rng)
    wanted = AnswerSettings(
        metric=metric, tolerance=0.01, target_accuracy=0.9, cost_per_sample=1.0,
        cost_per_photo=0.1, cost_per_box=0.0, replicates=200, reference={},
    )  # fmt: skip
    unsettled = {"scratch": ["train.scratch.epochs"], "frozen": [], "finetune": []}
    answer = answer_study(learnings, 0.5, wanted, unsettled, 0.5)
    views = [
        view for own in learnings
        for view in score_by_views(
            own, [of_two_classes(right, np.arange(40)) for right in rng.random((4, 3, 40)) < 0.8]
        )
    ]  # fmt: skip
    confusion = [
        {"strategy": s, "samples": n, "angles": k, "photos": n * k, "actual": actual,
         "predicted": predicted, "test_photos": 60.5 if actual == predicted else 19.5}
        for s in ("scratch", "frozen", "finetune") for n, k in SIZES
        for actual in LABELS for predicted in LABELS
    ]  # fmt: skip
    test = pd.DataFrame({"sample": shown, "angle": np.tile(["0", "<u>1</u>", "2", "3"], 40)})
    test["label"] = np.array(LABELS)[test["sample"] % 2]
    results = (
        details(learnings, answer)
        | parts(learnings, answer, lambda *cell: hits[cell], test, 0)
        | {
            "curve": with_intervals(scores, learnings),
            "confusion": pd.DataFrame(confusion),
            "history": pd.DataFrame(history),
            "views": as_table(views, metric, metrics_tables(metric)["views"]),
        }
    )
    return results, answer


def make_suspects(count: int) -> pd.DataFrame:
    """Return a table of suspects, of which the first two are pictured."""
    rows = [
        {"paths": f"{printable(PATH)}\n{n}.jpg", "sample": "7", "label": LABELS[0],
         "suggested": LABELS[1], "score": 0.012 + n / 10, "photos": 2,
         "file": f"suspect{n}.webp" if n < 2 else ""}
        for n in range(count)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(SUSPECTS)).astype(SUSPECTS)


def make_gallery(folder: Path, map_size: int = 3, mistakes: int = 3, sure: float = 0.987) -> Path:
    """Draw what the stage gallery would, of grey photos."""
    folder.mkdir()
    photo = np.full((40, 40, 3), 128, np.uint8)
    picture = gallery.encode(gallery.side_by_side([photo, photo]))
    same = {"seed": 1, "path": PATH, "map_size": map_size}
    same |= {"actual": LABELS[0], "predicted": LABELS[1]}
    rows = [
        same | {"photo": n, "confidence": sure - n / 10, "file": f"mistake{n}.webp"}
        for n in range(mistakes)
    ]
    tables.write(folder / "mistakes.csv", pd.DataFrame(rows, columns=list(MISTAKES)), MISTAKES)
    sheet = [
        {"label": label, "sample": f"{label}/1", "angles": "0, <u>1</u>", "file": f"{n}.webp"}
        for n, label in enumerate(LABELS)
    ]
    tables.write(folder / "samples.csv", pd.DataFrame(sheet), tables.SHEET)
    for name in [*(row["file"] for row in (*rows, *sheet)), "suspect0.webp", "suspect1.webp"]:
        (folder / str(name)).write_bytes(picture)
    return folder


def make_page(
    folder: Path,
    certain: bool = True,
    confusion: pd.DataFrame | None = None,
    tested: int = 160,
    suspects: int = 3,
    metric: str = "accuracy",
    made: tuple[dict[str, pd.DataFrame], Answer] | None = None,
    **gallery_of: Any,
) -> str:
    """Render the page of a study whose names try to be markup, or of one that was made before."""
    results, answer = made or make_results(metric)
    if confusion is not None:
        results["confusion"] = confusion
    shown = results["confusion"] if confusion is not None else results["classes"]
    classes = list(shown["actual" if confusion is not None else "label"].unique())
    largest = tables.largest_cell(results["curve"]).iloc[0][["samples", "angles", "photos"]]
    if not certain:  # whether the best strategy beats guessing
        answer = dataclasses.replace(answer, score=Estimate(0.6, 0.4, 0.8))
    for name, figure in charts.draw_all(results, {}, answer).items():
        charts.save(figure, folder / f"{name}.svg")
    model = {
        "strategy": "frozen", "network": "resnet18", "photos": 128, "samples": 32, "angles": 4,
        "size": 40, "device": "cpu", "precision": "bfloat16", "classes": classes,
        "confidence": 0.314,
        "tested": dict(largest) | {"seeds": 3},
    }  # fmt: skip
    left_out = pd.DataFrame({"path": [f"{n}.jpg" for n in range(300)], "reason": REASON})
    params = "study:\n  pattern: '(?P<label>.*)'  # \"&\"\n"
    run = page.RunFacts(params, model, left_out)
    data = {
        "photos": 1280, "photos_left_out": 300, "test_photos": tested, "manifest_sha256": "0a1b",
    }  # fmt: skip
    drawn = make_gallery(folder / "gallery", **gallery_of)
    return page.render(results, answer, data, folder, drawn, make_suspects(suspects), run)


class Reader(HTMLParser):
    """Collects tags with their attributes, the text, and whether tags close in order."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text, self.open = "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def each(self, *tags: str) -> Iterator[dict[str, str]]:
        return (attributes for tag, attributes in self.tags if tag in tags)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_page(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def read(html: str) -> Reader:
    return Reader(html)


def test_answer_comes_first_and_the_rest_below(html: str, read: Reader) -> None:
    first, second, third = re.findall(r'<p class="headline">(.*?)</p>', html)
    assert "photos" in first
    assert "Frozen features did best: with all 128 photos" in second
    assert "Not settled: training from scratch" in third
    assert html.index(third) < html.index("<img") < html.index("redundan")


def test_every_part_is_there(read: Reader) -> None:
    for part in (
        "Accuracy by size", "compared on the same test samples", "Equally many photos",
        "3 seeds", "predicted as", "98.7 % sure", "3 × 3 places", "Training samples"[9:],
        "Manifest sha256", "0a1b", "Versions", "torch 2", "Photos left out: 300", REASON,
        "(?P<label>.*)", "1,280",
    ):  # fmt: skip
        assert part in read.text, part


def test_confusion_has_a_shaded_table_a_strategy(html: str, read: Reader) -> None:
    assert read.text.count("60.5 76 %") == read.text.count("19.5 24 %") == 2 * 3
    assert html.count("rgba(var(--heat), 0.34)") == 2 * 3


def confused(classes: int) -> pd.DataFrame:
    """Confusion of `classes` classes: the last is predicted for one photo of each other class."""
    labels = [f"class {n:02d}" for n in range(classes)]
    pairs = [(label, label, 5.0) for label in labels[:-1]]
    pairs += [(label, labels[-1], 1.0) for label in labels[:-1]]
    pairs += [(labels[-1], labels[0], 5.0)]
    own = pd.DataFrame(pairs, columns=["actual", "predicted", "test_photos"])
    own = own.sort_values(["actual", "predicted"], ignore_index=True)
    return own.assign(strategy="frozen", samples=60, angles=1, photos=60)


def test_pairs_that_never_occur_are_zeros_of_the_matrix() -> None:
    (confusion,) = page._confusions(confused(3))
    assert confusion.labels == ["class 00", "class 01", "class 02"]
    assert confusion.counts == [["5", "0", "1"], ["0", "5", "1"], ["5", "0", "0"]]
    assert confusion.shares[0] == pytest.approx([5 / 6, 0, 1 / 6])


def test_many_classes_are_listed_by_their_commonest_confusions(tmp_path: Path) -> None:
    (confusion,) = page._confusions(confused(30))
    assert len(confusion.commonest) == 15
    assert confusion.commonest[:2] == [
        ("class 29", "class 00", "5.0"), ("class 00", "class 29", "1.0"),
    ]  # fmt: skip
    text = Reader(make_page(tmp_path, confusion=confused(30))).text
    assert "The commonest errors among 30 classes" in text
    assert "actual class (rows)" not in text
    assert text.count("class 29") == 15


def test_many_classes_without_an_error_have_none(tmp_path: Path) -> None:
    every = confused(30)
    right = every[every["actual"] == every["predicted"]]
    right = pd.concat([right, right[:1].assign(actual="class 29", predicted="class 29")])
    assert re.search(r"photos\s+none\s", Reader(make_page(tmp_path, confusion=right)).text)


def test_names_stay_names(html: str, read: Reader) -> None:
    shown = "<img src=x onerror=alert(1)>/\"quote'\\n<script>alert(1)</script>.jpg"
    assert read.text.count(shown) == 3 + 2
    assert "<b>x</b>" in read.text
    assert list(read.each("script", "i", "u", "iframe", "object", "form")) == []
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    assert any("<b>x</b>" in image["alt"] for image in read.each("img"))


def test_nothing_is_fetched(html: str, read: Reader) -> None:
    for _, attributes in read.tags:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert attributes.get(name, "data:").startswith("data:")
    assert [link["href"] for link in read.each("link")] == ["data:,"]
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    for image in read.each("img"):  # nor by the charts
        if (source := image["src"]).startswith("data:image/svg+xml;base64,"):
            svg = base64.b64decode(source.partition(",")[2]).decode()
            assert not re.findall(r'(?:href|src)="(?!#|data:)', svg)
            assert not re.findall(r"url\((?!#)", svg)


def test_every_picture_says_what_it_shows(read: Reader) -> None:
    images = list(read.each("img"))
    assert len(images) == 4 + 3 + 2 + 2
    assert all(len(image["alt"]) > 20 for image in images)
    drawn = [image for image in images if image["src"].startswith("data:image/svg")]
    assert len(drawn) == 4
    for image in drawn:
        assert re.search(r"\d+\.\d", image["alt"]), image["alt"]
    for image in images:
        if image["src"].startswith("data:image/webp"):
            content = base64.b64decode(image["src"].partition(",")[2])
            assert Image.open(io.BytesIO(content)).size == (82, 40)


def test_structure_is_what_assistive_technology_needs(html: str, read: Reader) -> None:
    assert next(read.each("html")) == {"lang": "en"}
    assert "<title>" in html
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    local = [a["href"][1:] for a in read.each("a") if a["href"].startswith("#")]
    assert set(local) <= set(ids)
    assert all("scope" in attributes for attributes in read.each("th"))


def test_same_study_same_bytes(html: str, tmp_path: Path) -> None:
    assert make_page(tmp_path) == html


def test_a_network_without_a_feature_map_is_said_to_have_none(tmp_path: Path) -> None:
    text = Reader(make_page(tmp_path, map_size=0)).text
    assert "resnet18 has no feature map in its last layers, so there are no heat maps" in text
    assert "LayerCAM" not in text


def test_a_classifier_without_mistakes_is_said_to_make_none(tmp_path: Path) -> None:
    assert "Every test photo was predicted right." in make_page(tmp_path, mistakes=0)


def test_photos_to_doubt_are_shown_with_what_they_may_be(read: Reader, tmp_path: Path) -> None:
    assert "labelled <b>x</b> (1.2 %), perhaps it's" in read.text
    assert "and 1 more of this sample" in read.text
    assert "The first 2 of 3, most doubtful first" in read.text
    assert "the label may still be right" in read.text
    assert "No label is in doubt." in Reader(make_page(tmp_path, suspects=0)).text


def test_where_only_test_samples_can_be_judged_the_page_says_so(
    read: Reader, tmp_path: Path
) -> None:
    assert "Only the 160 test photos of 1,280 can be judged" in read.text
    assert "can be judged" not in Reader(make_page(tmp_path, tested=1280)).text


def test_a_study_without_an_answer_says_so_and_nothing_is_left_empty(tmp_path: Path) -> None:
    html = make_page(tmp_path, certain=False)
    (lead,) = re.findall(r'<p class="headline">(.*?)</p>', html)
    assert lead.startswith("No answer: ")
    assert Reader(html).text.count("No answer: ") == 1
    assert not re.search(r"<ul>\s*</ul>", html)
    assert not re.search(r"</h2>\s*(<h2|</section)", html)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def test_the_page_speaks_of_the_metric_of_the_answer(metric: str, tmp_path: Path) -> None:
    html, name = make_page(tmp_path, metric=metric), METRICS[metric].name
    # A class's accuracy, and an angle's, are shares of their own photos, whatever the metric.
    read = Reader(re.sub('<section id="next">.*?</section>', "", html, flags=re.S))
    shown = " ".join([read.text, *(image["alt"] for image in read.each("img"))])
    assert f"with all 128 photos it got a {name} of " in shown
    assert f"{name[0].upper()}{name[1:]} by size" in shown
    assert shown.count(f"Test {name} ") == 2
    charts = [(tmp_path / f"{chart}.svg").read_text(encoding="utf-8") for chart in CHARTS]
    assert all(name in svg for svg in charts)
    for text in (shown, *charts):
        others = re.sub(
            r"balanced accuracy|Validation loss \(nats\) and accuracy", "", text, flags=re.I
        )
        others = others.replace("Every run's validation loss and accuracy", "")
        assert "accuracy" not in others.lower()


# ---- of a study ---------------------------------------------------------------------


def test_report_of_a_study_is_small_and_whole(study: Clone) -> None:
    path = study.folder / "metrics/report.html"
    read = Reader(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 2_000_000
    assert (study.folder / "params.yaml").read_text(encoding="utf-8") in read.text
    assert "efficientnet" in read.text
    assert len(list(read.each("img"))) > 4 + 8


def test_the_time_of_every_stage_is_told_but_not_in_the_report(
    study: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = stage_runs(load_params(study.folder / "params.yaml", Params).study)
    monkeypatch.chdir(study.folder)
    seconds = recorded_seconds(runs)
    assert set(seconds) == set(runs)
    told = time_taken(runs)
    assert told.startswith(f"{sum(seconds.values()) / 60:.1f} min ")
    assert "train" in told
    assert told not in Path("metrics/report.html").read_text(encoding="utf-8")
