"""The whole of params.yaml: every section; an unknown section is an error."""

import pydantic

from shotcount.demo.settings import DemoParams
from shotcount.findings.settings import AnswerParams
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
