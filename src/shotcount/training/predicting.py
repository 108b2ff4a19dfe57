"""Predict class probabilities, and measure their loss."""

import numpy as np
import torch
from torch import nn

from shotcount.networks.devices import in_pieces
from shotcount.training.strategies import Load


@torch.inference_mode()
def predict(
    network: nn.Module, load: Load, rows: np.ndarray, batch_size: int | None = None
) -> np.ndarray:
    """Return the probability of every class: ndarray of shape (len(rows), classes), float64."""
    network.eval()
    if batch_size is None:  # on a CPU, batches of 256 overflow the cache: 1.5 times the time
        batch_size = 64 if next(network.parameters()).device.type == "cpu" else 512

    def compute(piece: int) -> np.ndarray:
        parts = [
            network(load(rows[start : start + piece], None)).cpu().double().softmax(dim=1)
            for start in range(0, max(len(rows), 1), piece)  # no rows: an empty array
        ]
        return torch.cat(parts).numpy()

    return in_pieces(compute, batch_size, "predicting")


def cross_entropy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean negative log-likelihood in nats; probabilities are clipped at 1e-15."""
    true = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.clip(true, 1e-15, None)).mean())
