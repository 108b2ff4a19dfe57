"""The whole of params.yaml: every section; an unknown section is an error."""

import pydantic

from shotcount.demo.settings import DemoParams
from shotcount.findings.settings import AnswerParams
from shotcount.networks.settings import is_detector
from shotcount.photos.settings import DataParams
from shotcount.sampling.settings import SplitParams
from shotcount.training.settings import TrainingParams


class Params(DemoParams, DataParams, SplitParams, TrainingParams, AnswerParams):
    model_config = pydantic.ConfigDict(extra="forbid")

    @pydantic.model_validator(mode="after")
    def _tests_every_sample_equally_often(self) -> "Params":
        for strategy in self.study.strategies:
            seeds, folds = getattr(self.train, strategy).seeds, self.split.folds
            if folds and seeds % folds:
                raise ValueError(
                    f"train.{strategy}.seeds ({seeds}) is no multiple of split.folds ({folds}): "
                    "each seed tests one fold, so some samples would be tested more often"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _finds_objects_only_where_boxes_mark_them(self) -> "Params":
        if self.data.task == "classify" and is_detector(self.model.name):
            raise ValueError(
                f"model.name: {self.model.name} finds objects, but data.task is classify: name a "
                "classification network, or set data.task to detect (docs/boxes.md)"
            )
        return self
