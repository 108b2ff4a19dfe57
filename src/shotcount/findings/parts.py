"""The metric by class and by angle, and what more samples brought each class."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from shotcount.core.seeds import seed_for
from shotcount.findings.learning import Learning
from shotcount.scoring.matching import Matches
from shotcount.scoring.predictions import count_folds
from shotcount.uncertainty.bootstrap import Resamples, bootstrap_mean, resample
from shotcount.uncertainty.intervals import FEWEST, Estimate, mean_interval
from shotcount.uncertainty.metrics import metric_rows

Hits = Callable[[str, int, int], np.ndarray]  # (strategy, samples, angles) → (seeds, photos)


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy for the photos of one class, its recall: a row of `tables.CLASSES`."""

    strategy: str
    label: str
    test_samples: int
    test_photos: int
    accuracy: Estimate


def accuracy_by_class(
    learning: Learning, hits: Hits, photos: pd.DataFrame, seed: int
) -> list[ClassAccuracy]:
    """Return the accuracy of each class in a strategy's largest cell; the lowest first.

    Parameters
    ----------
    learning : Learning
    hits : callable
        Of strategy, samples and angles: returns whether each seed of that cell predicted each test
        photo correctly, ndarray of shape (seeds, photos), as scoring.predictions.hits gives it.
    photos : DataFrame
        The test photos in the order of `hits`: sample and label.
    seed : int
        study.seed of params.yaml.
    """
    right = hits(*_cell(learning, learning.largest))
    found = []
    for label, rows, samples, resamples in _classes(learning, right, photos, seed):
        own = right[:, rows]
        (replicates,) = bootstrap_mean(own[None], samples, resamples)
        accuracy = Estimate(float(np.nanmean(own)), *mean_interval(replicates, resamples))
        count = len(np.unique(samples))
        found.append(ClassAccuracy(learning.strategy, label, count, len(samples), accuracy))
    return sorted(found, key=lambda row: row.accuracy.value)


@dataclass(frozen=True)
class ClassPrecision:
    """The average precision of one class."""

    strategy: str
    label: str
    test_samples: int  # that hold it
    test_objects: int
    score: Estimate


def precision_by_class(learning: Learning, matches: Matches) -> list[ClassPrecision]:
    """Return the study's average precision of each class in a cell; the lowest first.

    The samples that don't hold the class are resampled, too: they may hold false alarms. Replicates
    that draw no sample with the class are left out.

    Parameters
    ----------
    learning : Learning
        Of the cell's strategy.
    matches : Matches
        Of the cell. A class without a test object has no average precision, and no row.
    """
    photos = np.unique(matches.photo, return_index=True)[1]
    objects = matches.objects[photos].sum(axis=0)
    samples, found = matches.samples_by_class(), []
    for named in map(int, np.flatnonzero(objects)):
        with np.errstate(invalid="ignore"):  # replicates that don't draw the class: no number
            (rows,) = metric_rows([matches.of_class(named)], learning.metric, learning.resamples)
        drawn = learning.resamples.only(~np.isnan(rows[1:]))
        replicates = rows[1:][~np.isnan(rows[1:])]
        ends = mean_interval(replicates, drawn, trials=int(samples[named]))
        found.append(
            ClassPrecision(
                learning.strategy,
                matches.labels[named],
                int(samples[named]),
                int(objects[named]),
                Estimate(float(rows[0]), *ends),
            )
        )
    return sorted(found, key=lambda row: row.score.value)


@dataclass(frozen=True)
class Gain:
    """What more samples of all classes brought one class: a row of `tables.GAINS`."""

    strategy: str
    label: str
    fewer_samples: int
    more_samples: int
    angles: int
    test_samples: int
    gain: Estimate  # accuracy for the class's photos with more samples, minus that with fewer


def gains_by_class(
    learnings: Sequence[Learning], hits: Hits, photos: pd.DataFrame, seed: int
) -> list[Gain]:
    """Return each class's gain in accuracy from half of the samples to all; most promising first.

    Both cells have the most angles. Subsets are stratified, so from one to the other every class
    doubles: which part of a gain is owed to the class's own samples can't be told. The gain is
    paired: both cells are tested on the same photos of the class, by seeds whose subsets nest.

    Classes whose whole interval is above 0 come first, ranked by its low end, the gain that can be
    counted on: ranked by the gain itself, those with few test samples would come first by chance.
    Of the others no gain is detectable; they follow by the gain.

    Parameters
    ----------
    learnings : sequence of Learning
        The first whose cells have several numbers of samples is used: where there is no half, the
        number nearest to it. Without one, the result is empty.
    hits, photos, seed
        As for `accuracy_by_class`.
    """
    usable = [(own, half) for own in learnings if (half := _half(own)) is not None]
    if not usable:
        return []
    learning, half = usable[0]
    cells = np.stack([hits(*_cell(learning, place)) for place in (half, learning.largest)])
    found = []
    for label, rows, samples, resamples in _classes(learning, cells[0], photos, seed):
        own = cells[..., rows]
        fewer, more = bootstrap_mean(own, samples, resamples)
        value = float(np.nanmean(own[1]) - np.nanmean(own[0]))
        ends = mean_interval(more - fewer, resamples, lowest=-1)
        found.append(
            Gain(
                learning.strategy,
                label,
                int(learning.samples[half]),
                int(learning.samples[learning.largest]),
                int(learning.angles[half]),
                len(np.unique(samples)),
                Estimate(value, *ends),
            )
        )
    return sorted(found, key=lambda row: (-max(row.gain.low, 0), -row.gain.value))


def _half(learning: Learning) -> int | None:
    """Return the index of the cell with half of the largest cell's samples, or nearest to half."""
    largest = learning.largest
    share = learning.samples / learning.samples[largest]
    fewer = np.flatnonzero((learning.angles == learning.angles[largest]) & (share < 1))
    return int(fewer[np.abs(np.log2(share[fewer]) + 1).argmin()]) if len(fewer) else None


@dataclass(frozen=True)
class AngleAccuracy:
    """Accuracy for photos from one angle: a row of `tables.ANGLES`."""

    strategy: str
    angle: str
    test_samples: int
    accuracy: Estimate
    difference: Estimate  # from the mean over all angles of the same samples


def accuracy_by_angle(
    learning: Learning, hits: Hits, photos: pd.DataFrame, seed: int
) -> list[AngleAccuracy]:
    """Return the accuracy of each angle in a strategy's largest cell; the hardest first.

    Samples differ more than angles do. So an angle is also compared with all angles of the same
    samples, a difference that is paired.

    Parameters
    ----------
    learning, hits, seed
        As for `accuracy_by_class`.
    photos : DataFrame
        The test photos in the order of `hits`: sample and angle.

    Returns
    -------
    list of AngleAccuracy
        Of the angles that at least `FEWEST` samples have. Empty if there are not two: then angles
        have names of their own in each sample, or each sample has one.
    """
    right = hits(*_cell(learning, learning.largest))
    by_sample = pd.DataFrame(right.T).groupby(photos["sample"].to_numpy())
    beyond = right - by_sample.transform("mean").to_numpy().T  # NaN where not tested
    rows = pd.Series(np.arange(len(photos)), [photos["angle"], photos["sample"]]).sort_index()
    samples_of = {angle: tuple(own.index.unique(1)) for angle, own in rows.groupby(level=0)}
    alike: dict[tuple[str, ...], list[str]] = {}  # angles by the samples that have them
    for angle, samples in samples_of.items():
        if len(samples) >= FEWEST:
            alike.setdefault(samples, []).append(str(angle))
    if sum(map(len, alike.values())) < 2:
        return []
    found = []
    for samples, angles in alike.items():
        shown = np.array(samples)
        places = np.stack([rows[angle].to_numpy() for angle in angles])  # (angles, samples)
        resamples = learning.resamples
        if len(samples) < resamples.samples.shape[1]:
            own = right[:, places[0]]
            resamples = _resamples(learning, own, shown, "angle", seed, angles[0])
        # Accuracies of all angles, then their differences: (2 x angles, seeds, samples)
        values = np.concatenate([right[:, places], beyond[:, places]], axis=1).transpose(1, 0, 2)
        means = np.nanmean(values, axis=(1, 2))
        replicates = bootstrap_mean(values, shown, resamples)
        for n, angle in enumerate(angles):
            accuracy, difference = (
                Estimate(float(means[place]), *mean_interval(replicates[place], resamples, lowest))
                for place, lowest in ((n, 0), (n + len(angles), -1))
            )
            found.append(
                AngleAccuracy(learning.strategy, angle, len(samples), accuracy, difference)
            )
    return sorted(found, key=lambda row: row.difference.value)


def _cell(learning: Learning, place: int) -> tuple[str, int, int]:
    return learning.strategy, int(learning.samples[place]), int(learning.angles[place])


def _classes(
    learning: Learning, right: np.ndarray, photos: pd.DataFrame, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, Resamples]]:
    """Yield each class, the places of its photos, their samples, and resamples of these."""
    samples = photos["sample"].to_numpy()
    for label, rows in photos.reset_index(drop=True).groupby("label").indices.items():
        own = right[:, rows]
        yield (
            str(label),
            rows,
            samples[rows],
            _resamples(learning, own, samples[rows], "class", seed, str(label)),
        )


def _resamples(
    learning: Learning, right: np.ndarray, samples: np.ndarray, *name: str | int
) -> Resamples:
    """Resample a part of the test samples, and the seeds of a strategy, as the study does.

    `right` (seeds, photos) is NaN where a seed didn't test a photo, `samples` (photos,) is what
    each shows, and `name` names the draw.
    """
    rng, replicates = np.random.default_rng(seed_for(*name)), len(learning.resamples.samples)
    return resample(len(np.unique(samples)), [len(right)], replicates, rng, count_folds(right))[0]
