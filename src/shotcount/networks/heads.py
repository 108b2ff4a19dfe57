"""The linear head, on cached features alone or on a backbone."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from torch import nn

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

PENALTIES = np.logspace(5, -2, 15)  # of features whose variance is 1 on average
FLATTEST = 0.05  # keeps the ranking of the classes in probabilities of six digits
SHARPEST = 2.0  # validation photos that are all predicted correctly would ask for certainty


def build_head(features: int, classes: int) -> nn.Linear:
    """Return a linear head that starts at equal probabilities, whatever the seed.

    A head of zeros also keeps random gradients away from the pretrained backbone (Kolesnikov et
    al., "Big Transfer", ECCV 2020).
    """
    head = nn.Linear(features, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


class Strength(NamedTuple):
    """What validation chooses for a head that is solved."""

    penalty: float  # L2, of standardised features, against the summed loss of the photos
    factor: float  # of the logits: the inverse temperature (see `calibrate`)


@dataclass(frozen=True)
class Solved:
    """A head that is solved, not trained, and how well it does."""

    state: dict[str, torch.Tensor]  # weight (classes, features) and bias (classes,), float32
    strength: Strength
    train_loss: float
    val_loss: float
    val_accuracy: float

    def look(self) -> dict[str, float | bool]:
        """Return it as a row of `core.tables.LOOK`."""
        zeros = {"step": 0, "epoch": 0.0, "learning_rate": 0.0}
        losses = {name: getattr(self, name) for name in ("train_loss", "val_loss", "val_accuracy")}
        return zeros | losses | {"factor": self.strength.factor, "kept": True}


def solve_head(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], classes: int
) -> Solved:
    """Solve logistic regression on centred features, the L2 penalty chosen by validation.

    All features are divided by the same number. Each by its own standard deviation, those that
    hardly vary would weigh as much as the others, and with few samples the head would be worse by
    several points (docs/fairness.md).

    Fine-tuning starts from this head, too: from zeros, its first steps would distort the pretrained
    features (Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution", ICLR 2022).

    Parameters
    ----------
    train, val : (ndarray of shape (photos, features), ndarray of shape (photos,))
        Features and targets, from 0 to `classes` - 1. The penalty is weakened, by factors of the
        square root of 10, until the loss on `val` has risen twice.
    classes : int
    """
    (x, y), (x_val, y_val) = ((x.astype(np.float64), y) for x, y in (train, val))
    x, mean, scale = _centred(x)
    x_val = (x_val - mean) / scale
    model, lowest, rises = _regression(), np.inf, 0
    for penalty in PENALTIES:
        _fit(model, penalty, x, y)
        factor, loss = calibrate(model.predict_proba(x_val), y_val)
        if loss > lowest:
            rises += 1
            if rises == 2:
                break  # weaker penalties would overfit more and take longer
            continue
        lowest, strength = loss, Strength(float(penalty), factor)
        weight, bias = _layer(model, factor, classes)
    logits, logits_val = x @ weight.T + bias, x_val @ weight.T + bias
    return Solved(
        state=_for_raw_features(weight, bias, mean, scale),
        strength=strength,
        train_loss=float(photo_losses(softmax(logits, axis=1), y).mean()),
        val_loss=lowest,
        val_accuracy=float(np.mean(logits_val.argmax(axis=1) == y_val)),
    )


def solve_head_as(
    train: tuple[np.ndarray, np.ndarray], strength: Strength, classes: int
) -> dict[str, torch.Tensor]:
    """Solve a head as `solve_head` does, but without validation, and return its state."""
    x, mean, scale = _centred(train[0].astype(np.float64))
    model = _regression()
    _fit(model, strength.penalty, x, train[1])
    return _for_raw_features(*_layer(model, strength.factor, classes), mean, scale)


def _centred(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return centred features with a variance of 1 on average, the mean, and what divided them."""
    mean, scale = x.mean(axis=0), float(np.sqrt(x.var(axis=0).mean())) or 1.0
    return (x - mean) / scale, mean, scale


def _regression() -> "LogisticRegression":
    """Return a logistic regression that processors solve alike, and that starts where it ended.

    Processors differ in the last bits. With L-BFGS, these decide in which iteration it stops, and
    that changes weights by up to 1e-2, which fine-tuning amplifies. The solutions of Newton's
    method, with this tolerance and in float64, differ by less than 1e-9 as a rule, which `_rounded`
    removes.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second, and only this needs it

    return LogisticRegression(solver="newton-cg", tol=1e-10, max_iter=1000, warm_start=True)


def _fit(model: "LogisticRegression", penalty: float, x: np.ndarray, y: np.ndarray) -> None:
    with warnings.catch_warnings():
        # A class may well have only one photo.
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        # The last step may gain less than float64 can tell: then the head is solved, too.
        warnings.filterwarnings("ignore", "The line search algorithm did not converge")
        warnings.filterwarnings("ignore", "Line Search failed")
        model.set_params(C=1 / penalty).fit(x, y)


def _layer(
    model: "LogisticRegression", factor: float, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (classes, features) and bias (classes,), times `factor` and rounded."""
    weight, bias = model.coef_, model.intercept_
    if classes == 2:  # the solution has one logit
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return _rounded(factor * weight), _rounded(factor * bias)


def _for_raw_features(
    weight: np.ndarray, bias: np.ndarray, mean: np.ndarray, scale: float
) -> dict[str, torch.Tensor]:
    """Return the state of the head that takes features as they are."""
    weight = weight / scale
    state = {"weight": weight, "bias": bias - weight @ mean}
    return {name: torch.from_numpy(value).float() for name, value in state.items()}


def calibrate(probabilities: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Return the factor of the logits with which the loss is lowest, and that loss.

    A network grows overconfident long before its predictions get worse: its loss rises while its
    accuracy still rises, too. So training is stopped, and weights are chosen, by the loss that is
    left after temperature scaling (Guo et al., ICML 2017), as Berta et al. propose ("Rethinking
    Early Stopping: Refine, Then Calibrate", arXiv 2501.19195, 2025).

    Parameters
    ----------
    probabilities : ndarray of shape (photos, classes)
    targets : ndarray of shape (photos,)

    Returns
    -------
    (float, float)
        The inverse temperature, from `FLATTEST` to `SHARPEST`, and the mean cross-entropy in nats.
    """
    best = minimize_scalar(
        lambda factor: photo_losses(probabilities, targets, factor).mean(),
        bounds=(FLATTEST, SHARPEST),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(best.x), float(best.fun)


def photo_losses(probabilities: np.ndarray, targets: np.ndarray, factor: float = 1.0) -> np.ndarray:
    """Return the cross-entropy of each photo, in nats, if the logits are multiplied by `factor`."""
    logits = factor * np.log(np.clip(probabilities, 1e-30, None))
    return np.asarray(logsumexp(logits, axis=1) - logits[np.arange(len(targets)), targets])


def scale_logits(network: nn.Module, factor: float) -> None:
    """Multiply what `network`, a `Network` or a head alone, returns by `factor`."""
    head = network.head if isinstance(network, Network) else network
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(factor)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round to multiples of a power of 2, about a thousandth of the largest value."""
    step = 2.0 ** (np.frexp(np.abs(values).max())[1] - 11)
    return np.round(values / step) * step


class Network(nn.Module):
    """Backbone and head: photos (B, 3, H, W), pixel values 0 to 255 → logits (B, classes).

    With `keeps_statistics`, BatchNorm goes on using the statistics that the backbone was pretrained
    with, while its weights train. Those of small batches of like photos would change the features
    at the first step, before any weight has learned from it.
    """

    def __init__(
        self, backbone: nn.Module, features: int, classes: int, keeps_statistics: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = build_head(features, classes)
        self.keeps_statistics = keeps_statistics

    def train(self, mode: bool = True) -> "Network":
        super().train(mode)
        if self.keeps_statistics:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))


@torch.no_grad()
def add_to_average(
    average: tuple[torch.Tensor, ...], weights: tuple[torch.Tensor, ...], share: float
) -> None:
    """Move an average of a network's weights towards its present ones, by a share of the way."""
    torch._foreach_lerp_(average, weights, share)


@torch.no_grad()
def recompute_statistics(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Compute BatchNorm's statistics anew, as the mean over `batches`, and leave `network` in eval.

    An average of several networks' weights needs statistics of its own: the average of theirs
    describes no network (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018). Layers that keep their statistics in training keep them here, too.
    """
    network.train()
    norms = [
        each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)
    ]
    changing = {norm: norm.momentum for norm in norms if norm.training}
    network.eval()
    if not changing:
        return
    for norm in changing:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a mean over all batches
        norm.train()
    for x in batches:
        network(x)
    for norm, momentum in changing.items():
        norm.momentum = momentum
    network.eval()
