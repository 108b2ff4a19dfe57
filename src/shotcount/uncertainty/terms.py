"""What the two kinds of study call things: those of classes, and those of photos with boxes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Terms:
    """The words that differ; {} stand for names and numbers."""

    sample: str  # what splits keep together
    angle: str  # one photo of it
    network: str
    taken: str  # between what is there and what a network says
    unbeaten: str  # after "not shown to", where the score is no better than guessing
    nothing_learned: str  # the same, as a reason
    extremes: str  # the classes with the lowest and the highest score
    no_gains: str  # why there is no table of what more samples brought each class
    loss: str  # of validation, with its unit
    share: str  # after "validation": the column val_accuracy of core.tables.LOOK

    def written(self, name: str) -> str:
        """Write the name of a column or a fact, such as test_samples."""
        return name.replace("_", " ").replace("sample", self.sample)


OF_CLASSES = Terms(
    sample="sample",
    angle="angle",
    network="classifier",
    taken="predicted as",
    unbeaten="beat always naming the commonest class ({guessing})",
    nothing_learned="guessing isn't shown to be beaten",
    extremes=(
        "{strategy} is right least often for {lowest}, {low}, and most often for {highest}, {high}"
    ),
    no_gains=(
        "Which classes gain most from more samples is not identifiable: it takes a second, "
        "smaller number in study.samples, or in study.frozen_grid with the strategy frozen."
    ),
    loss="loss (nats)",
    share="accuracy",
)
OF_OBJECTS = Terms(
    sample="scene",
    angle="view",
    network="detector",
    taken="found as",
    unbeaten="find anything",
    nothing_learned="no object is shown to be found",
    extremes=(
        "the {score} of {strategy} is lowest for {lowest}, {low}, and highest for {highest}, {high}"
    ),
    no_gains=(
        "What more scenes of one class would bring can't be told: a scene holds objects of several "
        "classes."
    ),
    loss="loss",
    share="anchor accuracy",
)
