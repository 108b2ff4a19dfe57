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
    if batch_size is None:  # activations overflow a CPU's cache: of 256 photos, by half of the time
        batch_size = 64 if next(network.parameters()).device.type == "cpu" else 512

    def compute(piece: int) -> np.ndarray:
        parts = [
            network(load(rows[start : start + piece], None)).cpu().double().softmax(dim=1)
            for start in range(0, max(len(rows), 1), piece)  # none: a table without rows
        ]
        return torch.cat(parts).numpy()

    return in_pieces(compute, batch_size, "predicting")


def cross_entropy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-likelihood in nats; probabilities below 1e-15 count as that."""
    true = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.clip(true, 1e-15, None)).mean())
