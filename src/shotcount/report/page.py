"""The report as one HTML page: no scripts, pictures inside, nothing to download."""

import base64
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from shotcount.core import tables
from shotcount.core.errors import printable
from shotcount.findings.answer import Answer
from shotcount.report import sections, words
from shotcount.report.style import LOOKS
from shotcount.scoring.mistakes import MISTAKES
from shotcount.uncertainty.metrics import Metric
from shotcount.uncertainty.terms import Terms
from shotcount.uncertainty.writing import capitalised, percent, range_in_percent

MOST_CLASSES = 12  # in a confusion matrix; with more, the commonest confusions are listed
MOST_ROWS = 200  # in the list of photos left out
PACKAGES = ("torch", "torchvision", "timm", "scikit-learn", "numpy", "pandas", "dvc")


@dataclass(frozen=True)
class RunFacts:
    """What the page says about the run: parameters, model, photos left out."""

    params: str  # the content of params.yaml
    model: Mapping[str, Any]  # model.json of the classifier
    left_out: pd.DataFrame  # columns tables.LEFT_OUT


@dataclass(frozen=True)
class Picture:
    source: str  # a data: URL
    alt: str


@dataclass(frozen=True)
class Mistake:
    picture: Picture
    actual: str
    predicted: str
    confidence: float  # probability of `predicted`
    path: str


@dataclass(frozen=True)
class Suspect:
    """A sample or a photo whose label may be wrong."""

    picture: Picture
    label: str
    suggested: str
    score: float  # probability of `label`
    path: str  # of its first photo
    photos: int


@dataclass(frozen=True)
class Row:
    """A training sample of the contact sheet."""

    label: str
    sample: str
    picture: Picture


def render(
    results: Mapping[str, pd.DataFrame],
    answer: Answer,
    data: Mapping[str, Any],
    charts: Path,
    gallery: Path,
    suspects: pd.DataFrame,
    run: RunFacts,
) -> str:
    """Return the page as HTML. Names and file contents are escaped.

    Parameters
    ----------
    results : mapping of str to DataFrame
        The tables of `metrics_tables` in findings.tables.
    answer : Answer
    data : mapping
        Facts about the data: numbers of photos and samples, checksum of the manifest.
    charts : Path
        The folder with the charts of `charts.draw_all` as SVG.
    gallery : Path
        The output folder of the stage gallery.
    suspects : DataFrame
        With the columns `SUSPECTS` of scoring.suspects.
    run : RunFacts
    """
    terms = answer.metric.terms
    headline = words.headline(answer)
    said = words.sentences(answer) + words.caution(answer)
    sheet = list(_sheet(gallery, terms))
    mistakes = tables.read(gallery / "mistakes.csv", MISTAKES)
    return _template(terms).render(
        headline=headline,
        metric=answer.metric.name,
        terms=terms,
        said=[sentence for sentence in said if sentence not in headline],
        sections=sections.sections(results, answer, printable),
        charts={
            name: Picture(_address((charts / f"{name}.svg").read_bytes(), "svg+xml"), alt)
            for name, alt in _alts(results, answer).items()
        },
        measured=_measured(results["curve"], run.model, answer.metric),
        confusions=list(_confusions(results["confusion"])),
        most_classes=MOST_CLASSES,
        mistakes=[_mistake(row, gallery, terms) for row in mistakes.itertuples()],
        map_size=int(mistakes["map_size"].max()) if len(mistakes) else 0,
        suspects=[_suspect(row, gallery, terms) for row in suspects.itertuples() if row.file],
        doubted=len(suspects),
        sheet=sheet,
        sheet_classes=len({row.label for row in sheet}),
        run=run,
        data=data,
        left_out=[(row.path, row.reason) for row in run.left_out.head(MOST_ROWS).itertuples()],
        versions={"Python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    )


def _template(terms: Terms) -> jinja2.Template:
    """Open the template of a study's kind, which fills the gaps of page.html."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{terms.network}.html")


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _measured(curve: pd.DataFrame, model: Mapping[str, Any], metric: Metric) -> str:
    """Write how good the networks are that stand for the classifier, with the interval."""
    tested, key = model["tested"], metric.key
    own = curve[curve["strategy"] == model["strategy"]].set_index(["samples", "angles"])
    cell = own.loc[(tested["samples"], tested["angles"])]
    interval = range_in_percent(cell[f"{key}_low"], cell[f"{key}_high"])
    return f"{metric.got.format(percent(cell[key]))} ({interval})"


def _alts(results: Mapping[str, pd.DataFrame], answer: Answer) -> dict[str, str]:
    """Describe each chart in words."""
    curve, views, metric = results["curve"], results["views"], answer.metric.key
    name, terms = answer.metric.name, answer.metric.terms
    reached = "; ".join(
        f"{LOOKS[strategy].method} from {own.loc[own['photos'].idxmin(), metric]:.1%} at "
        f"{own['photos'].min():,} photos to {own.loc[own['photos'].idxmax(), metric]:.1%} at "
        f"{own['photos'].max():,}"
        for strategy, own in curve.groupby("strategy", sort=False)
    )
    averaged = "; ".join(
        f"{LOOKS[strategy].method} from {own[metric].iloc[0]:.1%} with one angle to "
        f"{own[metric].iloc[-1]:.1%} with {own['views'].max()}"
        for strategy, own in views.groupby("strategy", sort=False)
    )
    enough, best = answer.enough, curve.loc[curve[metric].idxmax()]
    kept = results["history"][results["history"]["kept"]].groupby("strategy", sort=False)
    losses = "; ".join(
        f"{LOOKS[strategy].method} {own.min():.2f} to {own.max():.2f} in {len(own)} runs"
        for strategy, own in kept["val_loss"]
    )
    smallest = (
        f" {'Enough' if enough.shown else 'Best guess'}: {enough.samples:,} {terms.sample}s "
        f"from {enough.angles} {terms.angle}(s) each."
        if enough.photos.value < enough.largest
        else ""
    )
    return {
        "accuracy_vs_size": (
            f"{words.title(answer)}. Test {name} against the number of training photos: {reached}."
        ),
        "samples_and_angles": (
            f"{capitalised(name)} by training {terms.sample}s and {terms.angle}s of each: "
            f"highest, {best[metric]:.1%}, with {best['samples']:,} {terms.sample}s from "
            f"{best['angles']} {terms.angle}(s) each ({LOOKS[best['strategy']].method}).{smallest}"
        ),
        "views_at_test_time": (
            f"{capitalised(name)} for whole samples by angles averaged: {averaged}."
        ),
        "training_curves": (
            f"Validation {terms.loss} and {terms.share} of every run against optimisation steps. "
            f"Lowest loss of a run: {losses}."
        ),
    }


@dataclass(frozen=True)
class Confusion:
    """Test photos by actual and predicted class: means over seeds in a strategy's largest cell."""

    strategy: str
    photos: int  # that the cell was trained on
    labels: list[str]
    shares: list[list[float]]  # of the actual class's photos: one row per actual class
    counts: list[list[str]]  # photos, in the same layout
    commonest: list[tuple[str, str, str]]  # errors: actual, predicted, photos


def _confusions(confusion: pd.DataFrame) -> Iterator[Confusion]:
    if "actual" not in confusion:  # it has the faults of detectors
        return
    for strategy, own in confusion.groupby("strategy", sort=False):
        largest = own[own["photos"] == own["photos"].max()]
        largest = largest[largest["samples"] == largest["samples"].max()]
        matrix = largest.pivot(index="actual", columns="predicted", values="test_photos")
        # Every class is tested, but not every class is predicted.
        matrix = matrix.reindex(columns=matrix.index).fillna(0.0)
        errors = largest[largest["actual"] != largest["predicted"]]
        commonest = errors.sort_values("test_photos", ascending=False, kind="stable").head(15)
        yield Confusion(
            strategy=LOOKS[strategy].method,
            photos=int(largest["photos"].iloc[0]),
            labels=list(map(printable, matrix.index)),
            shares=matrix.div(matrix.sum(axis=1), axis=0).to_numpy().tolist(),
            counts=[
                [f"{count:.1f}".removesuffix(".0") for count in row] for row in matrix.to_numpy()
            ],
            commonest=[
                (printable(row.actual), printable(row.predicted), f"{row.test_photos:.1f}")
                for row in commonest.itertuples()
            ],
        )


def _mistake(row: Any, gallery: Path, terms: Terms) -> Mistake:
    """Read a row of `MISTAKES` and its picture."""
    actual, predicted, path = map(printable, (row.actual, row.predicted, row.path))
    alt = f"Photo of {actual}, {terms.taken} {predicted}"
    if row.map_size:
        alt += f", beside it a heat map of what supports {predicted}"
    picture = Picture(_address((gallery / row.file).read_bytes(), "webp"), alt)
    return Mistake(picture, actual, predicted, row.confidence, path)


def _suspect(row: Any, gallery: Path, terms: Terms) -> Suspect:
    """Read a row of `SUSPECTS` and its picture."""
    label, suggested, path = map(printable, (row.label, row.suggested, row.paths.split("\n")[0]))
    alt = f"Photo labelled {label}, {terms.taken} {suggested}"
    picture = Picture(_address((gallery / row.file).read_bytes(), "webp"), alt)
    return Suspect(picture, label, suggested, row.score, path, row.photos)


def _sheet(gallery: Path, terms: Terms) -> Iterator[Row]:
    for row in tables.read(gallery / "samples.csv", tables.SHEET).itertuples():
        label, sample, angles = map(printable, (row.label, row.sample, row.angles))
        alt = f"Training photos of {sample}, from left to right: {terms.angle}s {angles}"
        picture = Picture(_address((gallery / row.file).read_bytes(), "webp"), alt)
        yield Row(label, sample, picture)
