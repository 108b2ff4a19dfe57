"""The answer of a study in sentences."""

import math

from shotcount.findings.answer import Answer
from shotcount.findings.plan import Enough, More, Plan
from shotcount.report.style import LOOKS
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.writing import (
    capitalised,
    counted,
    percent,
    plain_points,
    points,
    range_in_percent,
)

NOTED = 0.001  # a choice of strategy that makes its score higher by more than this is noted
FORESEEABLE = 4  # times the study's samples: plans for more are too uncertain


def sentences(answer: Answer) -> list[str]:
    """Return the answer in sentences, which also say what the data can't show."""
    if not answer.beats_guessing:
        unbeaten = answer.metric.terms.unbeaten.format(guessing=percent(answer.guessing))
        return [f"No answer: {_at_largest(answer)}, not shown to {unbeaten}."]
    said = [_enough(answer), _redundancy(answer), _more(answer), _plan(answer)]
    if answer.most_angles == 1:  # the study says nothing about angles
        del said[1]
    return said


def title(a: Answer) -> str:
    """Answer both questions in one short sentence."""
    if not a.beats_guessing:
        return f"No answer: {a.metric.terms.nothing_learned}"
    return f"{_advice(a)}; {_count(a)}"


def headline(answer: Answer) -> list[str]:
    """Answer the two questions in a sentence each: how many photos, which strategy."""
    if not answer.beats_guessing:
        return sentences(answer)
    a, enough = answer, answer.enough
    size = _size(a, enough.samples, enough.angles)
    if enough.photos.value == enough.largest:
        why = f"no smaller subset is expected within {points(a.tolerance)} of them."
    elif enough.shown:
        why = f"{size} lose at most {points(enough.loss.high)} against all {enough.largest:,}."
    else:
        why = f"{size}. {_not_shown(a)}"
    return [
        f"{capitalised(_count(a))}: {why}",
        f"{_advice(a)}: {verdict(a)}.",
        *unsettled(a),
    ]


def _advice(a: Answer) -> str:
    """Recommend the best strategy if it is shown to be the best; if not, say that it did best."""
    method = LOOKS[a.strategy].method
    shown = all(c.shown for c in a.comparisons if a.strategy in (c.better, c.worse))
    return f"Use {method}" if shown else f"{capitalised(method)} did best"


def verdict(a: Answer, it: str = "it") -> str:
    """Say what the best strategy reached, and how it compares with the others."""
    got = a.metric.got.format(percent(a.score.value))
    return f"with all {a.enough.largest:,} photos {it} {got} ({_range(a.score)}){_against(a)}"


def caution(a: Answer) -> list[str]:
    """Warn of a flattering choice, unfinished training, and unequal classes."""
    said = [*unsettled(a), *_unequal(a)]
    if a.optimism <= NOTED:
        return said
    flattering = (
        f"{capitalised(LOOKS[a.strategy].method)} was chosen as the best on these test "
        f"{a.metric.terms.sample}s, so its {a.metric.name} is some {plain_points(a.optimism)} too "
        "high on average; the interval given with the choice is moved down by that."
    )
    return [flattering, *said]


def _unequal(a: Answer) -> list[str]:
    """Say what balanced accuracy would answer, where it may be something else."""
    if (other := a.balanced) is None:
        return []
    enough, own = other.enough, a.enough
    best = "still" if other.strategy == a.strategy else "instead"
    facts = [(e.samples, e.angles, e.shown) for e in (enough, own)]
    size = "still" if facts[0] == facts[1] else "instead"
    if not other.beats_guessing:
        many = f"not shown to beat guessing ({percent(other.guessing)})"
    elif enough.photos.value == enough.largest:
        many = f"all {enough.largest:,} photos would {size} be needed"
    else:
        many = f"{_size(a, enough.samples, enough.angles)} would {size} be {_called(enough)}"
    return [
        f"The commonest class has {a.imbalance:.3g} times the samples of the rarest: by balanced "
        f"accuracy, where every class counts the same, the best strategy would {best} be "
        f"{LOOKS[other.strategy].method}, with {percent(other.score.value)} "
        f"({_range(other.score)}), and {many}."
    ]


def _at_largest(a: Answer) -> str:
    return (
        f"with all {a.enough.largest:,} training photos {a.strategy} "
        f"{a.metric.reached.format(percent(a.score.value))} ({_range(a.score)})"
    )


def _count(a: Answer) -> str:
    enough = a.enough
    if enough.photos.value == enough.largest:
        return f"more than {enough.largest:,} photos may well help"
    return f"{enough.photos.value:,.0f} photos are {_called(enough)}"


def _called(enough: Enough) -> str:
    return "enough" if enough.shown else "the best guess for enough"


def _enough(a: Answer) -> str:
    verdict, enough = _at_largest(a) + _against(a), a.enough
    photos, angles, count, terms = enough.photos, enough.at_all_samples, "", a.metric.terms
    if photos.low < photos.high:
        count = f" The count is between {photos.low:,.0f} and {photos.high:,.0f} (95 % interval)"
        if angles.low < angles.high:
            few = f"{angles.low:.0f} to {angles.high:.0f} {terms.angle}s"
            count += f"; of all {terms.sample}s, {few} are enough"
        count += "."
    if photos.value == enough.largest:
        return (
            f"{capitalised(verdict)}. No smaller subset is expected within "
            f"{points(a.tolerance)} of that, so more photos may well help.{count}"
        )
    loss = f"{plain_points(enough.loss.value)} ({_range(enough.loss)})"
    text = (
        f"{photos.value:,.0f} photos ({_size(a, enough.samples, enough.angles)}) are "
        f"{_called(enough)}: "
        f"{verdict}, and {photos.value:,.0f} are expected to lose {loss} of it.{count}"
    )
    return text if enough.shown else f"{text} {_not_shown(a)}"


def _not_shown(a: Answer) -> str:
    """Say how much may be lost, and what it takes to show that the subset is enough."""
    enough, lost = a.enough, points(a.enough.loss.high)
    said = f"Up to {lost} may be lost, more than the {points(a.tolerance)} asked for"
    said, things = f"{said}; to show that it is less takes", f"{a.metric.terms.sample}s"
    if enough.to_show > FORESEEABLE * enough.tested:
        return f"{said} far more {things} than the {enough.tested:,} tested."
    return f"{said} tests of about {enough.to_show:,.0f} {things}."


def _against(a: Answer) -> str:
    """Say which strategies the chosen one beats, and which it doesn't."""
    against = [c for c in a.comparisons if a.strategy in (c.better, c.worse)]
    other = {c: c.worse if c.better == a.strategy else c.better for c in against}
    said = ""
    if beaten := [other[c] for c in against if c.shown]:
        said += f", better than {' and '.join(beaten)}"
    if rivals := [other[c] for c in against if c.settled and not c.shown]:
        said += f"{'; ' if said else ', '}no detectable difference from {' and '.join(rivals)}"
    if open_ := [other[c] for c in against if not c.settled]:
        said += f"{'; ' if said else ', '}not settled against {' and '.join(open_)}"
    return said


def unsettled(a: Answer) -> list[str]:
    """Say which strategies' training had not converged, and what to raise."""
    said = []
    for strategy, parameters in a.unsettled.items():
        reasons = [
            "its best learning rate was the lowest or the highest one tried: try others with "
            f"{name}"
            if name.endswith("learning_rate")
            else f"it was still improving when its training ended: raise {name}"
            for name in parameters
        ]
        if reasons:
            method = LOOKS[strategy].method
            said.append(f"Not settled: {method} had not converged; {'; '.join(reasons)}.")
    return said


def worth_of_angles(a: Answer) -> str:
    _, rho = _known_redundancy(a)
    sample, angle = a.metric.terms.sample, a.metric.terms.angle
    if rho is None:
        return f"how redundant the {angle}s are is not identifiable"
    value, *ends = (f"{10 / (1 + 9 * r):.1f}" for r in (rho.value, rho.high, rho.low))
    between = "" if [value] * 2 == ends else f" ({' to '.join(ends)})"
    return f"ten {angle}s of one {sample} are worth {value}{between} photos of different {sample}s"


def _known_redundancy(a: Answer) -> tuple[str, Estimate | None]:
    """Return the redundancy of the strategy to use or, if that is unknown, of another."""
    found = ((name, a.redundancies[name]) for name in (a.strategy, *a.redundancies))
    return next((own for own in found if own[1]), (a.strategy, None))


def _redundancy(a: Answer) -> str:
    (name, rho), terms = _known_redundancy(a), a.metric.terms
    if rho is None:
        return (
            f"{capitalised(worth_of_angles(a))} from this study: it takes several sizes of "
            f"{terms.sample}s and of {terms.angle}s, three seeds, and more photos that detectably "
            "help."
        )
    return (
        f"The {terms.angle}s' redundancy is {rho.value:.2f} (95 % interval {rho.low:.2f} to "
        f"{rho.high:.2f}; {name}): {worth_of_angles(a)}."
    )


def _more(a: Answer) -> str:
    if a.curve_of is None:
        return (
            "What more photos would bring is not identifiable: too few sizes for a curve that "
            "can be checked on the largest (along one axis, four at least must lie at or below "
            "half of the largest)."
        )
    terms = a.metric.terms
    said = f"Twice the {terms.sample}s {_gain(a, a.more_samples, 'samples')}"
    if a.most_angles > 1:
        said += f"; twice the {terms.angle}s {_gain(a, a.more_angles, 'angles')}"
    return f"{_by_curve(a, said, f'{a.strategy} has too few sizes for one')}."


def _by_curve(a: Answer, said: str, note: str) -> str:
    """Say whose curve a forecast is read from, and a note, if it isn't the best strategy's."""
    if a.curve_of in (None, a.strategy):
        return said
    return f"By the curve of {a.curve_of} ({note}), {said[0].lower()}{said[1:]}"


def _gain(a: Answer, more: More | None, axis: str) -> str:
    if more is None:
        return f"can't be predicted (study.{axis} has one size)"
    size = f"{more.samples:,} × {more.angles:g}"
    if axis == "samples":
        size = f"{a.in_all(more.samples):,} in all, {size} for training"
    return (
        f"({size}) would bring {plain_points(more.gain.value)} ({_range(more.gain)}), to "
        f"{percent(more.score.value)}"
    )


def _plan(a: Answer) -> str:
    if a.curve_of != a.strategy and a.reached_with is not None:
        return f"{percent(a.target)} is what {a.strategy} reached with {a.reached_with:,} photos."
    return _by_curve(a, _to_target(a), f"{percent(a.curve_score)} with all training photos")


def _to_target(a: Answer) -> str:
    if a.plan:
        p, terms, n = a.plan, a.metric.terms, a.plan.photos
        size = _size(a, p.samples, p.angles)
        ends = [f"{end:,.0f}" if math.isfinite(end) else "no limit" for end in (n.low, n.high)]
        photos = f"{n.value:,.0f} photos (95 % interval {ends[0]} to {ends[1]})"
        if p.within:
            return f"{percent(a.target)} is expected of the study's smallest subset already."
        if p.samples > FORESEEABLE * p.studied:
            return (
                f"{percent(a.target)} is too far off to plan for: by the fitted curve it would "
                f"take {size}, {photos}, where {p.studied:,} {terms.sample}s were studied."
            )
        return (
            f"The cheapest way to {percent(a.target)} is expected to be {size} for training: "
            f"{photos} at a cost of {p.cost:,.0f} (a {terms.sample} costs {p.cost_per_sample:g}, "
            f"a photo {p.cost_per_photo:.2g}). With those for validation and tests, photograph "
            f"{a.in_all(p.samples):,} {terms.sample}s in all{_boxes(a, p)}."
        )
    if a.ceiling and a.ceiling.value <= a.target:
        return (
            f"{percent(a.target)} is not reachable with more photos like these: the fitted "
            f"ceiling is {percent(a.ceiling.value)} ({_range(a.ceiling)})."
        )
    return f"What it takes to reach {percent(a.target)} is not identifiable from this study."


def _boxes(a: Answer, plan: Plan) -> str:
    """Say how many boxes a plan takes."""
    if not a.objects_a_photo:
        return ""
    boxes = a.in_all(plan.samples) * plan.angles * a.objects_a_photo
    return f" and draw some {boxes:,.0f} boxes ({a.objects_a_photo:.1f} a photo)"


def _size(a: Answer, samples: int, angles: int) -> str:
    return f"{samples:,} {a.metric.terms.sample}s from {counted(angles, a.metric.terms.angle)} each"


def _range(e: Estimate) -> str:
    return range_in_percent(e.low, e.high)
