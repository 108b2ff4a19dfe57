"""The layouts of a folder of photos that Shotcount knows: patterns that may read its paths."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shotcount.photos.names import ReadyMade

ANY, SUFFIX = "[^/]+/", r"\.\w+$"
LEVELS = {"any": ANY, "label": "(?P<label>[^/]+)/", "sample": "(?P<sample>[^/]+)/"}
# Sample and angle in a photo's name: stone07_3, stone07-035-045, stone07 (3).
SAMPLE_ANGLE = {
    "<sample>_<angle>": "{sample}[-_ ](?P<angle>[^-_ /]+)",
    "<sample>_<angle>-<angle>": r"{sample}[-_ ](?P<angle>\d+[-_]\d+)",
    "<sample> (<angle>)": r"{sample} ?\((?P<angle>\d+)\)",
}
WORDS = ("[A-Za-z]+", r"[^\W\d_]+(?:[-_ ][^\W\d_]+)*")  # a class in a photo's name
NUMBERED = r"(?P<sample>[^\W_]*\d[^\W_]*)"
# Class and sample in a photo's name: apple1-035-045, plastic 07 (3), plastic_a7_3, obj3_plastic_07;
# or in that of its folder: plastic_07/3.
IN_NAMES = {
    "<class><sample>/<angle>": r"{label}[-_ ]?(?P<sample>\d+)/(?P<angle>[^/]+)",
    "<class><sample>_<angle>": r"{label}[-_ ]?(?P<sample>\d+)[-_ ](?P<angle>[^/]+)",
    "<class><sample>": r"{label}[-_ ]?\(?(?P<sample>\d+)\)?",
    "<class>_<sample>_<angle>": f"{{label}}[-_ ]{NUMBERED}[-_ ](?P<angle>[^/]+)",
    "<class>_<sample>": f"{{label}}[-_ ]{NUMBERED}",
    "<sample>_<class>_<angle>": f"{NUMBERED}[-_ ]{{label}}[-_ ](?P<angle>[^/]+)",
    "<sample>_<class>": f"{NUMBERED}[-_ ]{{label}}",
}


@dataclass(frozen=True)
class Layout:
    """One way to read paths.

    Attributes
    ----------
    words : str
        The layout as people write it: <class>/<sample>/<angle>.
    patterns : tuple of str
        The first that tells all photos apart is used: the second takes the folders above a sample
        into its name.
    in_names : bool
        Whether the photos' names say the class, not a folder.
    splits : bool
        Whether ready-made splits are used.
    below : int
        Folders below that of the class.
    """

    words: str
    patterns: tuple[str, ...]
    in_names: bool = False
    splits: bool = False
    below: int = 0


def list_layouts(paths: Sequence[str], ready: ReadyMade | None) -> Iterator[Layout]:
    """Yield the layouts that may read a collection; most of them read nothing sensible.

    Parameters
    ----------
    paths : sequence of str
        Of all photos, with / between folders.
    ready : ReadyMade or None
        The folders that are ready-made splits: each layout is yielded with and without their use.
    """
    depth = Counter(path.count("/") for path in paths).most_common(1)[0][0]
    for splits in (True, False) if ready else (False,):
        roles = ["any"] * depth
        split = ready.group if ready and splits else ANY
        taken: set[int] = set()
        if ready and ready.level < depth:
            taken = {ready.level}
            if ready.repeated:
                taken.add(ready.level + 1)
        free = [level for level in range(depth) if level not in taken]
        for place, level in enumerate(free):
            labelled = [*roles]
            labelled[level] = "label"
            yield from _in_folders(
                labelled, free[place + 1 :], ready.level if ready else -1, split, splits
            )
        prefix = f"^{ANY * ready.level}{split}(?:.*/)?" if ready and splits else "(?:^|/)"
        for words, form in IN_NAMES.items():
            patterns = [prefix + form.format(label=f"(?P<label>{word})") + SUFFIX for word in WORDS]
            for pattern in patterns:
                yield Layout(f"{words}.jpg", (pattern,), in_names=True, splits=splits)


def _in_folders(
    roles: list[str], below: list[int], split_level: int, split: str, splits: bool
) -> Iterator[Layout]:
    """Yield the layouts in which one folder is the class; `below` are the levels below it."""

    def build(own: list[str], name: str, name_words: str) -> Layout:
        parts = [LEVELS[role] for role in own]
        if split_level >= 0:
            parts[split_level] = split
        shown = [{"any": "<folder>"}.get(role, f"<{role}>") for role in own]
        if splits:
            shown[split_level] = "<split>"
        words = "/".join([*shown, name_words]).replace("<label>", "<class>") + ".jpg"
        head, ends = "".join(parts), name + SUFFIX
        if "sample" in own:
            wrapped = f"(?P<sample>{head.replace('(?P<sample>[^/]+)', '[^/]+').rstrip('/')})/{ends}"
        else:
            wrapped = f"(?P<sample>{head}" + ends.replace("(?P<sample>", "", 1)
        return Layout(words, (f"^{head}{ends}", f"^{wrapped}"), False, splits, len(below))

    if below:
        with_sample = [*roles]
        with_sample[below[-1]] = "sample"
        yield build(with_sample, "(?P<angle>[^/]+)", "<angle>")
    yield build(roles, "(?P<sample>[^/]+)", "<sample>")
    for words, form in SAMPLE_ANGLE.items():
        sample = "(?P<sample>[^/]+)"
        if words == "<sample>_<angle>-<angle>":
            sample = "(?P<sample>[^-_/]+)"
        yield build(roles, form.format(sample=sample), words)
