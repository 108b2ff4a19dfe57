"""The study as one page that opens anywhere: no script, nothing fetched, pictures inside."""

import base64
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from shotcount import report, tables
from shotcount.answers import Answer
from shotcount.photos import printable

MOST_CLASSES = 12  # of a confusion matrix that fits a page; of more, the commonest confusions
PACKAGES = ("torch", "torchvision", "timm", "scikit-learn", "numpy", "pandas", "dvc")


@dataclass(frozen=True)
class Run:
    """What was run, on what, with what."""

    params: str  # the content of params.yaml
    model: Mapping[str, Any]  # model.json of the classifier
    seconds: Mapping[str, float]  # of each stage, where it was measured
    left_out: pd.DataFrame  # tables.LEFT_OUT


@dataclass(frozen=True)
class Picture:
    source: str  # a data: address
    alt: str
    caption: str = ""


def render(
    results: Mapping[str, pd.DataFrame],
    answer: Answer,
    data: Mapping[str, Any],
    charts: Mapping[str, bytes],
    gallery: Path,
    run: Run,
) -> str:
    """Return the page as HTML, whatever comes from names and files escaped.

    Parameters
    ----------
    results : mapping of str to DataFrame
        Those of `tables.METRICS`.
    answer : Answer
    data : mapping
        What the study rests on.
    charts : mapping of str to bytes
        SVG of each of the study's charts, by name.
    gallery : Path
        What the stage gallery has made.
    run : Run
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    said = report.sentences(answer) + report.caution(results["curve"], answer)
    alts = _alts(results, answer)
    return environment.from_string(template).render(
        headline=report.headline(answer),
        said=said if said != report.headline(answer) else [],
        sections=report.sections(results, answer),
        charts={
            name: Picture(_address(svg, "svg+xml"), alts[name]) for name, svg in charts.items()
        },
        confusions=list(_confusions(results["confusion"])),
        most_classes=MOST_CLASSES,
        mistakes=list(_mistakes(gallery)),
        sheets=list(_sheets(gallery, run.model["classes"])),
        run=run,
        left_out=[(row.path, row.reason) for row in run.left_out.itertuples()],
        versions={"Python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        footing=report.footing(dict(data)),
    )


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _alts(results: Mapping[str, pd.DataFrame], answer: Answer) -> dict[str, str]:
    """Say in words what each chart shows."""
    curve, views = results["curve"], results["views"]
    reached = "; ".join(
        f"{report.NAMES[strategy]} from {own.loc[own['photos'].idxmin(), 'accuracy']:.1%} at "
        f"{own['photos'].min():,} photos to {own.loc[own['photos'].idxmax(), 'accuracy']:.1%} at "
        f"{own['photos'].max():,}"
        for strategy, own in curve.groupby("strategy", sort=False)
    )
    averaged = "; ".join(
        f"{report.NAMES[strategy]} from {own['accuracy'].iloc[0]:.1%} with one angle to "
        f"{own['accuracy'].iloc[-1]:.1%} with {own['views'].max()}"
        for strategy, own in views.groupby("strategy", sort=False)
    )
    enough = answer.enough
    return {
        "accuracy_vs_size": f"Test accuracy against the number of training photos: {reached}.",
        "samples_and_angles": (
            "Accuracy by training samples and angles of each, for every strategy. Enough: "
            f"{enough.samples:,} samples from {enough.angles} angle(s) each."
        ),
        "views_at_test_time": f"Accuracy for whole samples by angles averaged: {averaged}.",
        "training_curves": "Validation loss and accuracy of every run against optimisation steps.",
    }


@dataclass(frozen=True)
class Confusion:
    """Test photos of a strategy's largest cell, by actual and predicted class, a seed."""

    strategy: str
    photos: int  # trained on
    labels: list[str]
    shares: list[list[float]]  # of the actual class's photos, a row each
    counts: list[list[str]]
    commonest: list[tuple[str, str, str]]  # actual, predicted, photos: errors alone


def _confusions(confusion: pd.DataFrame) -> Iterator[Confusion]:
    for strategy, own in confusion.groupby("strategy", sort=False):
        largest = own[own["photos"] == own["photos"].max()]
        largest = largest[largest["samples"] == largest["samples"].max()]
        matrix = largest.pivot(index="actual", columns="predicted", values="photos_per_seed")
        errors = largest[largest["actual"] != largest["predicted"]]
        errors = errors[errors["photos_per_seed"] > 0]
        commonest = errors.sort_values("photos_per_seed", ascending=False, kind="stable").head(15)
        yield Confusion(
            strategy=report.NAMES[strategy],
            photos=int(largest["photos"].iloc[0]),
            labels=list(map(printable, matrix.columns)),
            shares=matrix.div(matrix.sum(axis=1), axis=0).to_numpy().tolist(),
            counts=[
                [f"{count:.1f}".removesuffix(".0") for count in row] for row in matrix.to_numpy()
            ],
            commonest=[
                (printable(row.actual), printable(row.predicted), f"{row.photos_per_seed:.1f}")
                for row in commonest.itertuples()
            ],
        )


def _mistakes(gallery: Path) -> Iterator[Picture]:
    for row in tables.read(gallery / "mistakes.csv", tables.MISTAKES).itertuples():
        actual, predicted, path = map(printable, (row.actual, row.predicted, row.path))
        alt = f"{path}: {actual}, taken for {predicted}"
        if row.overlay:
            alt += "; on the right, what spoke for it is lit up"
        yield Picture(
            _address((gallery / row.file).read_bytes(), "jpeg"),
            alt,
            f"{actual}, taken for {predicted} ({row.confidence:.0%} sure)",
        )


def _sheets(gallery: Path, classes: list[str]) -> Iterator[Picture]:
    for n, label in enumerate(map(printable, classes)):
        if (path := gallery / f"class{n}.jpg").exists():
            alt = f"Training photos of {label}: a row a sample, its angles from left to right"
            yield Picture(_address(path.read_bytes(), "jpeg"), alt, label)
