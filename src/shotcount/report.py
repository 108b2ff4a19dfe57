"""The study's answer in words, as Markdown, and as the few numbers that a diff should show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from shotcount.answers import Answer, More
from shotcount.intervals import Estimate

NAMES = {"scratch": "training from scratch", "frozen": "frozen features", "finetune": "fine-tuning"}
UNEQUAL = 0.8  # share of the commonest class from which accuracy alone misleads

# ---------------------------------------------------------------------------- sentences


def sentences(answer: Answer) -> list[str]:
    """Put the answer into words, each with what the data can't tell."""
    if answer.accuracy.low <= answer.guessing:
        return [
            f"No answer: {_at_largest(answer)}, not shown to beat always naming the commonest "
            f"class ({_percent(answer.guessing)})."
        ]
    said = [_enough(answer), _redundancy(answer), _more(answer), _plan(answer)]
    if answer.most_angles == 1:  # nothing is to be known of angles
        del said[1]
    return said


def headline(answer: Answer) -> list[str]:
    """Put the two questions' answers into a sentence each: how many photos, which strategy."""
    if answer.accuracy.low <= answer.guessing:
        return sentences(answer)
    a, enough = answer, answer.enough
    many = (
        f"More than {enough.largest:,} photos may well help: no smaller subset is expected within "
        f"{_points(a.tolerance)} of them."
        if enough.photos.value == enough.largest
        else f"{enough.photos.value:,.0f} photos are enough: {enough.samples:,} samples from "
        f"{_count(enough.angles, 'angle')} each (95 % interval {enough.photos.low:,.0f} to "
        f"{enough.photos.high:,.0f} photos)."
    )
    return [
        many,
        f"Use {NAMES[a.strategy]}: with all {enough.largest:,} photos it got "
        f"{_percent(a.accuracy.value)} of the test photos right ({_range(a.accuracy)})"
        f"{_against(a)}.",
    ]


def _at_largest(a: Answer) -> str:
    return (
        f"with all {a.enough.largest:,} training photos {a.strategy} reached "
        f"{_percent(a.accuracy.value)} of the test photos ({_range(a.accuracy)})"
    )


def _enough(a: Answer) -> str:
    verdict, enough = _at_largest(a) + _against(a), a.enough
    photos, angles, count = enough.photos, enough.at_all_samples, ""
    if photos.low < photos.high:
        count = f" The count is between {photos.low:,.0f} and {photos.high:,.0f} (95 % interval)"
        if angles.low < angles.high:
            count += f"; of all samples, {angles.low:.0f} to {angles.high:.0f} angles are enough"
        count += "."
    if photos.value == enough.largest:
        return (
            f"{verdict[0].upper()}{verdict[1:]}. No smaller subset is expected within "
            f"{_points(a.tolerance)} of that, so more photos may well help.{count}"
        )
    text = (
        f"{photos.value:,.0f} photos ({enough.samples:,} samples from "
        f"{_count(enough.angles, 'angle')} each) are enough: {verdict}, and {photos.value:,.0f} "
        f"are expected to lose {_plain(enough.loss.value)} ({_range(enough.loss)}) of it.{count}"
    )
    if enough.loss.high > a.tolerance:
        text += (
            f" This test split can't rule out a loss of up to {_points(enough.loss.high)}, more "
            f"than the {_points(a.tolerance)} asked for."
        )
    return text


def _against(a: Answer) -> str:
    """Say which strategies the answer's beats, and which it doesn't."""
    against = [c for c in a.comparisons if a.strategy in (c.better, c.worse)]
    other = {c: c.worse if c.better == a.strategy else c.better for c in against}
    said = ""
    if beaten := [other[c] for c in against if c.p_holm < 0.05]:
        said += f", better than {' and '.join(beaten)}"
    if rivals := [other[c] for c in against if c.p_holm >= 0.05]:
        said += f"{'; ' if beaten else ', '}no detectable difference from {' and '.join(rivals)}"
    return said


def _redundancy(a: Answer) -> str:
    own = a.redundancies[a.strategy]
    others = ((name, found) for name, found in a.redundancies.items() if found)
    name, rho = (a.strategy, own) if own else next(others, (a.strategy, None))
    if rho is None:
        return (
            "How redundant the angles are is not identifiable from this study: it takes several "
            "sizes of samples and of angles, three seeds, and more photos that detectably help."
        )
    worth = [10 / (1 + 9 * r) for r in (rho.value, rho.high, rho.low)]
    if len({f"{w:.1f}" for w in worth}) == 1:
        between = ""
    else:
        between = f" ({worth[1]:.1f} to {worth[2]:.1f})"
    return (
        f"The angles' redundancy is {rho.value:.2f} ({_interval(rho, '.2f')}; {name}): ten angles "
        f"of one sample are worth {worth[0]:.1f}{between} photos of different samples."
    )


def _more(a: Answer) -> str:
    if not a.extrapolates:
        return (
            "What more photos would bring is not identifiable: too few sizes for a curve that "
            "can be checked on the largest (along one axis, three at least must lie at or below "
            "half of the largest)."
        )
    if a.most_angles == 1:
        return f"Twice the samples {_gain(a.more_samples, 'samples')}."
    return (
        f"Twice the samples {_gain(a.more_samples, 'samples')}; "
        f"twice the angles {_gain(a.more_angles, 'angles')}."
    )


def _gain(more: More | None, axis: str) -> str:
    if more is None:
        return f"can't be foretold (study.{axis} has one size)"
    return (
        f"({more.samples:,} × {more.angles}) would bring {_plain(more.gain.value)} "
        f"({_range(more.gain)}), to {_percent(more.accuracy.value)}"
    )


FORESEEABLE = 4  # times the samples studied: a plan beyond is no advice


def _plan(a: Answer) -> str:
    if a.plan:
        p = a.plan
        size = f"{p.samples:,} samples from {_count(p.angles, 'angle')} each"
        ends = [
            f"{end:,.0f}" if math.isfinite(end) else "no limit"
            for end in (p.photos.low, p.photos.high)
        ]
        photos = f"{p.photos.value:,.0f} photos (95 % interval {ends[0]} to {ends[1]})"
        if p.within:
            return f"{_percent(a.target)} is expected of the study's smallest subset already."
        if p.samples > FORESEEABLE * p.studied:
            return (
                f"{_percent(a.target)} is too far off to plan for: by the fitted curve it would "
                f"take {size}, {photos}, where {p.studied:,} samples were studied."
            )
        optimum = f"{p.optimum:.1f}" if math.isfinite(p.optimum) else "no limit to the"
        return (
            f"The cheapest way to {_percent(a.target)} is expected to be {size}: {photos} at a "
            f"cost of {p.cost:,.0f} (classical optimum: {optimum} angles)."
        )
    if a.ceiling and a.ceiling.value <= a.target:
        return (
            f"{_percent(a.target)} is not reachable with more photos like these: the fitted "
            f"ceiling is {_percent(a.ceiling.value)} ({_range(a.ceiling)})."
        )
    if a.smallest >= a.target:
        return f"{_percent(a.target)} is what the study's smallest subset reached already."
    return f"What it takes to reach {_percent(a.target)} is not identifiable from this study."


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _points(fraction: float) -> str:
    return _count(f"{round(100 * fraction, 1):g}", "point")


def _plain(fraction: float) -> str:
    return f"{100 * fraction:.1f} points"


def _count(number: int | str, noun: str) -> str:
    return f"{number} {noun}{'' if str(number) == '1' else 's'}"


def _interval(e: Estimate, form: str) -> str:
    return f"95 % interval {e.low:{form}} to {e.high:{form}}"


def _range(e: Estimate) -> str:
    return f"95 % interval {100 * e.low:.1f} to {100 * e.high:.1f}"


# ---------------------------------------------------------------------------- numbers


def summary(
    results: Mapping[str, pd.DataFrame], answer: Answer, data: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the few numbers that a pull request should show, rounded to 4 digits.

    Parameters as `markdown` has them. For each strategy its scores at the largest subset, the
    redundancy of its angles and the accuracy for whole samples, seen from all angles; the
    comparisons, each of a strategy over an earlier one of the study, below 0 where it lags; the
    answer; and what it rests on. None stands for not identifiable, or without
    limit.
    """
    curve, views = results["curve"], results["views"]
    largest = curve[curve["photos"] == curve["photos"].max()].set_index("strategy")
    columns = [
        "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1", "log_loss",
        "ece", "seeds",
    ]  # fmt: skip
    whole = views.sort_values("views").groupby("strategy")["accuracy"].last()
    a = answer
    strategies = {
        str(strategy): {column: _rounded(row[column]) for column in columns}
        | _ends("redundancy", a.redundancies[str(strategy)])
        | {"sample_accuracy": _rounded(whole[strategy])}
        for strategy, row in largest.iterrows()
    }
    order = list(curve["strategy"].unique())
    compared = {}
    for c in a.comparisons:  # named alike whoever leads, or a diff would show one gone, one new
        pair, lead = (c.better, c.worse), c.lead
        if order.index(c.better) < order.index(c.worse):
            pair, lead = (c.worse, c.better), Estimate(-lead.value, -lead.high, -lead.low)
        compared["{}_over_{}".format(*pair)] = _ends("lead", lead) | {"p_holm": _rounded(c.p_holm)}
    verdict = {
        "strategy": a.strategy,
        "samples": a.enough.samples,
        "angles": a.enough.angles,
        **_ends("photos", a.enough.photos),
        **_ends("angles_at_all_samples", a.enough.at_all_samples),
        **_ends("accuracy_lost", a.enough.loss),
        **_ends("gain_of_twice_the_samples", a.more_samples.gain if a.more_samples else None),
        **_ends("gain_of_twice_the_angles", a.more_angles.gain if a.more_angles else None),
        **_ends("ceiling", a.ceiling),
        "plan_samples": a.plan.samples if a.plan else None,
        "plan_angles": a.plan.angles if a.plan else None,
        **_ends("plan_photos", a.plan.photos if a.plan else None),
    }
    return strategies | {"comparisons": compared, "answer": verdict, "data": data}


def _ends(name: str, e: Estimate | None) -> dict[str, Any]:
    values = (e.value, e.low, e.high) if e else (None, None, None)
    names = (name, f"{name}_low", f"{name}_high")
    return {key: _rounded(value) for key, value in zip(names, values, strict=True)}


def _rounded(value: float | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else round(float(value), 4)


# ---------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class Section:
    """A table that answers one question."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def sections(results: Mapping[str, pd.DataFrame], answer: Answer) -> dict[str, Section]:
    """Return the tables behind the answer: sizes, strategies, curves, budgets, views.

    Parameters as `markdown` has them. What the study has nothing for is left out.
    """
    curve, comparisons, fits = results["curve"], results["comparisons"], results["fits"]
    budgets, views = results["equal_budgets"], results["views"]
    made = {"sizes": Section("Accuracy by size", *_sizes(curve))}
    if len(comparisons):
        rows = [
            [c.better, c.worse, _in_points(c.lead, c.lead_low, c.lead_high), f"{c.p_holm:.3f}",
             "yes" if c.p_holm < 0.05 else "no detectable difference"]
            for c in comparisons.itertuples()
        ]  # fmt: skip
        heads = ["higher", "lower", "lead in points", "p (Holm)", "better?"]
        title = "Strategies, compared on the same test samples"
        made["strategies"] = Section(title, heads, rows)
    if len(fits):
        rows = [
            [str(strategy), *_learning(own, answer)]
            for strategy, own in fits.groupby("strategy", sort=False)
        ]
        heads = ["strategy", "redundancy of angles", "family: share (error on the largest cells)"]
        made["curves"] = Section("Learning curves", heads, rows)
    if len(budgets):
        rows = [
            [b.strategy, f"{b.photos:,}", f"{b.more_samples:,} × {b.fewer_angles}",
             f"{b.fewer_samples:,} × {b.more_angles}", _in_points(b.gain, b.gain_low, b.gain_high)]
            for b in budgets.itertuples()
        ]  # fmt: skip
        heads = ["strategy", "photos", "samples × angles", "against", "gain in points"]
        title = "Equally many photos: more samples or more angles?"
        made["budgets"] = Section(title, heads, rows)
    shown = views[views["views"].isin({1, 2, 3, 5, 10, views["views"].max()})]
    names = list(views["strategy"].unique())
    rows = [
        [str(v)]
        + [_in_percent(*(r[f"accuracy{end}", n] for end in ("", "_low", "_high"))) for n in names]
        for v, r in shown.pivot(index="views", columns="strategy").iterrows()
    ]
    title = "Using the classifier: accuracy for samples, by the angles averaged"
    made["views"] = Section(title, ["angles", *names], rows)
    return made


def markdown(results: Mapping[str, pd.DataFrame], answer: Answer, data: dict[str, Any]) -> str:
    """Return the study in Markdown: the answer, and a table for each question behind it.

    Parameters
    ----------
    results : mapping of str to DataFrame
        Those of `tables.METRICS`.
    answer : Answer
    data : dict
        What the study rests on.
    """
    said = sentences(answer) + caution(results["curve"], answer)
    parts = ["\n".join(f"- {s}" for s in said)]
    for section in sections(results, answer).values():
        parts += [f"## {section.title}", _table(section.heads, section.rows)]
    rests_on = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in data.items())
    parts.append(f"Intervals are 95 %: a bootstrap over test samples and seeds. Data: {rests_on}.")
    return "\n\n".join(parts) + "\n"


def caution(curve: pd.DataFrame, answer: Answer) -> list[str]:
    """Warn where accuracy flatters: with unequal classes, naming the commonest gets far."""
    if answer.guessing < UNEQUAL:
        return []
    own = curve[curve["strategy"] == answer.strategy]
    balanced = own.loc[own["photos"].idxmax(), "balanced_accuracy"]
    return [
        f"The classes are unequal: always naming the commonest would get "
        f"{_percent(answer.guessing)}. The mean over the classes, balanced accuracy, is "
        f"{_percent(balanced)}."
    ]


def _learning(fits: pd.DataFrame, answer: Answer) -> tuple[str, str]:
    """Redundancy, and how often each family was chosen and how well it extrapolates."""
    found = answer.redundancies[fits["strategy"].iloc[0]]
    families = fits.drop_duplicates("family").sort_values("share", ascending=False)
    return (
        f"{found.value:.2f} ({found.low:.2f}–{found.high:.2f})" if found else "not identifiable",
        ", ".join(
            f"{f.family}: {100 * f.share:.0f} % ({_plain(f.extrapolation_error)})"
            for f in families.itertuples()
        ),
    )


def _sizes(curve: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    strategies = list(curve["strategy"].unique())
    seeds = curve.groupby("strategy")["seeds"].max()
    heads = [f"{strategy} ({_count(seeds[strategy], 'seed')})" for strategy in strategies]
    cells = curve.set_index(["samples", "angles", "strategy"]).sort_index()
    rows = []
    for size in (
        curve.drop_duplicates(["samples", "angles"]).sort_values(["photos", "samples"]).itertuples()
    ):
        row = [f"{size.photos:,}", f"{size.samples:,} × {size.angles}"]
        for strategy in strategies:
            key = (size.samples, size.angles, strategy)
            c = cells.loc[key] if key in cells.index else None
            row.append(
                ""
                if c is None
                else _in_percent(c["accuracy"], c["accuracy_low"], c["accuracy_high"])
            )
        rows.append(row)
    return ["photos", "samples × angles", *heads], rows


def _in_percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _in_points(value: float, low: float, high: float) -> str:
    first, *ends = (f"{round(100 * v, 1) + 0.0:+.1f}" for v in (value, low, high))  # never -0.0
    return f"{first} ({' to '.join(ends)})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    lines = [heads, ["-" * (width - 1) + ":" for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
