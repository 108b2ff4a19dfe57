"""The whole of params.yaml: every section; an unknown section is an error."""

import pydantic

from shotcount.demo.settings import DemoParams
from shotcount.findings.settings import AnswerParams
from shotcount.photos.settings import DataParams
from shotcount.sampling.settings import SplitParams
from shotcount.training.settings import TrainingParams


class Params(DemoParams, DataParams, SplitParams, TrainingParams, AnswerParams):
    model_config = pydantic.ConfigDict(extra="forbid")
