"""The table of a cell's detections on the test split, their average precision and scores."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from shotcount.core.tables import CELL, DETECTED, Table
from shotcount.scoring.matching import THRESHOLDS, Matches

DETECTIONS: Table = CELL | {"seed": "int64", "sample": "str"} | DETECTED  # label: predicted
TESTED: Table = {"seed": "int64", "photo": "int64", "sample": "str"}  # photos that each seed tested
DETECTION_SCORES: Table = CELL | {
    "seeds": "int64",
    "ap50": "float64",
    "ap": "float64",
    "ap75": "float64",
    "confidence": "float64",  # the lowest score that counts for the following; chosen by validation
    "precision": "float64",  # at an IoU of 0.5
    "recall": "float64",  # as above
    "count_bias": "float64",  # objects found minus objects there, in a photo
    "count_sd": "float64",  # of that difference, over the photos
}
RECALLS = np.linspace(0, 1, 101)  # the floats that COCO compares with
STEP = 2**22  # bytes of an array of counts: it stays in the processor's cache

# Weights of samples (samples, replicates) and seeds (replicates, seeds) → (classes, replicates)
Precision = Callable[[np.ndarray, np.ndarray], np.ndarray]


def average_precision(matches: Matches, thresholds: Sequence[int]) -> Precision:
    """Return what computes COCO's average precision of each class from weights.

    An image counts as often as its sample's weight times its seed's says. Detections of all images
    are ranked together, once; precision and recall are sums of weights down the ranks. At each of
    `RECALLS` counts the highest precision at this recall or a higher one (Lin et al., "Microsoft
    COCO: common objects in context", ECCV 2014; equal to pycocotools where all weights are 1).

    The precision is highest, and the recall rises, where a detection is right. So only these ranks
    are kept, each with the wrong ones that come before it; those after the last one don't count.

    Parameters
    ----------
    matches : Matches
    thresholds : sequence of int
        The indices of the IoU's thresholds (`THRESHOLDS`) that the result is the mean of.

    Returns
    -------
    callable
        Of the weights of samples, ndarray (samples, replicates), and seeds, ndarray (replicates,
        seeds), both float64. Returns ndarray (classes, replicates), float64: NaN where the class
        has no object of any weight.
    """
    pairs, pair = np.unique(matches.pair, return_inverse=True)
    seed, sample = np.divmod(pairs, matches.samples)
    of_pair = sparse.csr_array(
        (np.ones(len(pair)), (pair, np.arange(len(pair)))), shape=(len(pairs), len(pair))
    )
    held = sparse.csr_array((of_pair @ matches.objects).T)  # (classes, pairs)
    ranks = [
        [_ranks(matches, pair, len(pairs), named, threshold) for threshold in thresholds]
        for named in range(matches.classes)
    ]
    rows = max([len(pairs), *(len(own.right) for of_class in ranks for own in of_class)])
    step = max(1, STEP // (8 * rows))

    def compute(samples: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        result = np.empty((matches.classes, len(seeds)))
        for start in range(0, len(seeds), step):
            piece = slice(start, start + step)
            weights = samples[sample, piece] * seeds[piece].T[seed]  # (pairs, replicates)
            objects = held @ weights
            for named, of_class in enumerate(ranks):
                total = sum(own.precision(weights, objects[named]) for own in of_class)
                drawn = np.where(objects[named] > 0, total, np.nan)
                result[named, piece] = drawn / len(thresholds)
        return result

    return compute


class Ranks(NamedTuple):
    """The right detections of a class at one threshold, by score."""

    right: np.ndarray  # (right,) the pair of seed and sample
    since: sparse.csr_array  # (right, pairs) how many came since the last right one, and it

    def precision(self, weights: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Return the average precision: ndarray (replicates,).

        `weights` (pairs, replicates) are those of the pairs, `objects` (replicates,) of the class.
        """
        if not len(self.right):
            return np.zeros(len(objects))
        right = np.cumsum(weights[self.right], axis=0)
        every = np.cumsum(self.since @ weights, axis=0)
        share = np.divide(right, every, out=np.zeros_like(right), where=every > 0)
        highest = np.maximum.accumulate(share[::-1], axis=0)[::-1]
        highest = np.vstack([highest, np.zeros_like(objects)])  # of recalls that aren't reached
        recall = (right / np.where(objects > 0, objects, 1)).T
        place = np.stack([np.searchsorted(own, RECALLS) for own in recall], axis=1)
        # A cumulative sum adds in one order, however many replicates there are.
        return np.cumsum(np.take_along_axis(highest, place, axis=0), axis=0)[-1] / len(RECALLS)


def _ranks(matches: Matches, pair: np.ndarray, pairs: int, named: int, threshold: int) -> Ranks:
    own = np.flatnonzero((matches.named == named) & (matches.hit[:, threshold] >= 0))
    own = own[np.argsort(-matches.score[own], kind="stable")]
    hit = matches.hit[own, threshold]
    before = np.cumsum(hit) - hit
    right = np.count_nonzero(hit)
    kept = before < right
    place = pair[matches.image[own]]
    counts = (np.ones(np.count_nonzero(kept)), (before[kept], place[kept]))
    return Ranks(place[hit == 1], sparse.csr_array(counts, shape=(right, pairs)))


def score_detections(matches: Matches, confidence: float) -> dict[str, float]:
    """Score one cell on the detections of all its seeds together.

    Parameters
    ----------
    matches : Matches
    confidence : float
        Detections with a lower score count for the average precisions alone.

    Returns
    -------
    dict of str to float
        The columns `DETECTION_SCORES`, except for the cell's. A share of nothing is 0. Precision
        and recall are of the objects of all classes together, as `best_confidence` weighs them.
    """
    once = np.ones((matches.samples, 1)), np.ones((1, matches.seeds))
    chosen = {"ap50": range(1), "ap": range(len(THRESHOLDS)), "ap75": range(5, 6)}
    precision = {
        name: float(np.nanmean(average_precision(matches, thresholds)(*once)))
        for name, thresholds in chosen.items()
    }
    hit = matches.hit[:, 0]
    found = (matches.score >= confidence) & (hit >= 0)
    right = int(np.count_nonzero(hit[found]))
    there = matches.objects.sum(axis=1)  # (images,)
    beyond = np.bincount(matches.image[found], minlength=len(there)) - there
    return {
        "seeds": matches.seeds,
        **precision,
        "confidence": confidence,
        "precision": right / max(int(np.count_nonzero(found)), 1),
        "recall": right / max(int(there.sum()), 1),
        "count_bias": float(beyond.mean()),
        "count_sd": float(beyond.std()),
    }


def best_confidence(matches: Matches) -> float:
    """Return the score from which on detections have the highest F1 at an IoU of 0.5.

    F1 is of the objects of all classes together. It is to be chosen on photos that nothing is
    reported of. Of equal F1s the highest score is returned; without a detection, 1.
    """
    counted = matches.hit[:, 0] >= 0
    hit, score = matches.hit[counted, 0], matches.score[counted]
    if not len(score):
        return 1.0
    order = np.argsort(-score, kind="stable")
    hit, score = hit[order], score[order]
    right, found = np.cumsum(hit), np.arange(1, len(hit) + 1)
    f1 = 2 * right / (found + matches.objects.sum())
    last = np.append(np.diff(score) != 0, True)  # equal scores are above it or below it together
    return float(score[last][f1[last].argmax()])
