"""params.yaml as a whole: every section, none unknown."""

import pydantic

from shotcount.demo.settings import DemoParams
from shotcount.findings.settings import AnswerParams
from shotcount.photos.settings import DataParams
from shotcount.sampling.settings import SplitParams
from shotcount.training.settings import TrainingParams


class Params(DemoParams, DataParams, SplitParams, TrainingParams, AnswerParams):
    model_config = pydantic.ConfigDict(extra="forbid")
