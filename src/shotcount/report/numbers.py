"""The main numbers of a study, for metrics.json."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from shotcount.core.tables import CELL, is_detection
from shotcount.findings.answer import Answer
from shotcount.scoring.detections import DETECTION_SCORES
from shotcount.scoring.scores import SCORES
from shotcount.uncertainty.intervals import Estimate


def summary(
    results: Mapping[str, pd.DataFrame], answer: Answer, data: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the numbers that a pull request should show, rounded to 4 digits.

    For the parameters see `sections.markdown`. The result holds, for each strategy, its scores on
    the largest subset, the redundancy of its angles and, if views were averaged, its metric for
    samples seen from all angles; then the comparisons, the answer and facts about the data. A
    comparison is the lead of a strategy over an earlier one of the study, negative if it is behind.
    None means not identifiable, or infinite.
    """
    curve, views = results["curve"], results["views"]
    largest = curve[curve["photos"] == curve["photos"].max()].set_index("strategy")
    a, metric = answer, answer.metric.key
    columns = []
    for key in SCORES | DETECTION_SCORES:
        if key in curve and key not in (*CELL, "seeds"):
            columns += [key, f"{key}_low", f"{key}_high"] if key == metric else [key]
    columns.append("seeds")
    whole = views.sort_values("views").groupby("strategy")[metric].last()
    strategies = {
        str(strategy): {column: _rounded(row[column]) for column in columns}
        | _ends("redundancy", a.redundancies[str(strategy)])
        | {f"sample_{metric}": _rounded(value) for value in whole[whole.index == strategy]}
        | {"settled": not a.unsettled[str(strategy)]}
        for strategy, row in largest.iterrows()
    }
    order = list(curve["strategy"].unique())
    compared = {}
    for c in a.comparisons:  # the name doesn't depend on who leads, so that a diff shows a change
        pair, lead = (c.better, c.worse), c.lead
        if order.index(c.better) < order.index(c.worse):
            pair, lead = (c.worse, c.better), Estimate(-lead.value, -lead.high, -lead.low)
        compared["{}_over_{}".format(*pair)] = _ends("lead", lead) | {"p_holm": _rounded(c.p_holm)}
    verdict = {
        "strategy": a.strategy,
        **_ends(metric, a.score),
        "optimism": _rounded(a.optimism),
        "samples": a.enough.samples,
        "angles": a.enough.angles,
        **_ends("photos", a.enough.photos),
        **_ends("angles_at_all_samples", a.enough.at_all_samples),
        **_ends(f"{metric}_lost", a.enough.loss),
        "shown": a.enough.shown,
        "samples_to_show": _rounded(a.enough.to_show),
        "curve_of": a.curve_of,
        **_ends("gain_of_twice_the_samples", a.more_samples.gain if a.more_samples else None),
        **_ends("gain_of_twice_the_angles", a.more_angles.gain if a.more_angles else None),
        **_ends("ceiling", a.ceiling),
        "plan_samples": a.plan.samples if a.plan else None,
        "plan_samples_in_all": a.in_all(a.plan.samples) if a.plan else None,
        "plan_angles": a.plan.angles if a.plan else None,
        **_ends("plan_photos", a.plan.photos if a.plan else None),
        **next_class(results["gains"]),
    }
    return strategies | {"comparisons": compared, "answer": verdict, "data": data}


def facts(
    manifest: pd.DataFrame,
    left_out: pd.DataFrame,
    test: pd.DataFrame,
    boxes: pd.DataFrame,
    checksum: str,
) -> dict[str, Any]:
    """Return facts about the data.

    Parameters
    ----------
    manifest, left_out, boxes : DataFrame
        With the columns `MANIFEST`, `LEFT_OUT` and `BOXES` of core.tables.
    test : DataFrame
        The test photos, as `study_results` returns them.
    checksum : str
        SHA-256 of the manifest.
    """
    objects = {"objects": int((~boxes["ignored"]).sum())} if is_detection(boxes) else {}
    return {
        "photos": len(manifest),
        **objects,
        "photos_left_out": int((left_out["path"] != "").sum()),
        "test_photos": len(test),
        "test_samples": test["sample"].nunique(),
        "manifest_sha256": checksum[:12],
    }


def next_class(gains: pd.DataFrame) -> dict[str, Any]:
    """Return the class to photograph next, and what more samples brought it; None if unknown."""
    helped = gains[gains["gain_low"] > 0]
    if not len(helped):
        return {"next_class": None, **_ends("next_class_gain", None)}
    first = helped.iloc[0]
    gain = Estimate(first["gain"], first["gain_low"], first["gain_high"])
    return {"next_class": first["label"], **_ends("next_class_gain", gain)}


def _ends(name: str, e: Estimate | None) -> dict[str, Any]:
    values = (e.value, e.low, e.high) if e else (None, None, None)
    names = (name, f"{name}_low", f"{name}_high")
    return {key: _rounded(value) for key, value in zip(names, values, strict=True)}


def _rounded(value: float | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else round(float(value), 4)
