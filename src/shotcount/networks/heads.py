"""The linear head, on cached features alone or on a backbone."""

import numpy as np
import torch
from torch import nn


def build_head(features: int, classes: int) -> nn.Linear:
    """Return a linear head that starts at equal probabilities, whatever the seed.

    A head of zeros also keeps random gradients away from the pretrained backbone (Kolesnikov et
    al., "Big Transfer", ECCV 2020).
    """
    head = nn.Linear(features, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def solve_head(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], classes: int
) -> dict[str, torch.Tensor]:
    """Return the weight and bias that solve logistic regression on features.

    Fine-tuning from this head, rather than from zeros, keeps the first steps from distorting the
    pretrained features (Kumar et al., "Fine-Tuning can Distort Pretrained Features and
    Underperform Out-of-Distribution", ICLR 2022).

    Parameters
    ----------
    train, val : (ndarray of shape (photos, features), ndarray of shape (photos,))
        Features and targets, from 0 to `classes` - 1. The L2 penalty is weakened, by factors of
        10, until the loss on `val` rises.
    classes : int

    Returns
    -------
    dict of str to Tensor
        The head's state: weight (classes, features) and bias (classes,), float32.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second, and only this needs it
    from sklearn.metrics import log_loss

    # The solutions of two processors differ by 1e-3 in float32, which fine-tuning amplifies; in
    # float64 by 1e-9, which `_rounded` removes.
    (x, y), (x_val, y_val) = ((x.astype(np.float64), y) for x, y in (train, val))
    model, lowest = LogisticRegression(max_iter=1000, warm_start=True), np.inf
    for strength in np.logspace(4, -2, 7):
        model.set_params(C=1 / strength).fit(x, y)
        loss = log_loss(y_val, model.predict_proba(x_val), labels=model.classes_)
        if loss > lowest:
            break  # weaker penalties would overfit more and take longer
        lowest, weight, bias = loss, model.coef_.copy(), model.intercept_.copy()
    if classes == 2:  # the solution has one logit
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return {"weight": _rounded(weight), "bias": _rounded(bias)}


def _rounded(values: np.ndarray) -> torch.Tensor:
    """Round to multiples of a power of 2, about a thousandth of the largest value; in float32."""
    step = 2.0 ** (np.frexp(np.abs(values).max())[1] - 11)
    return torch.from_numpy(np.round(values / step) * step).float()


class Network(nn.Module):
    """Backbone and head: photos (B, 3, H, W), pixel values 0 to 255 → logits (B, classes)."""

    def __init__(self, backbone: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = build_head(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))
