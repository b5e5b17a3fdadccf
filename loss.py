"""Focal loss against the class imbalance (Lin et al. 2017, ICCV, arXiv:1708.02002)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FocalLoss(nn.Module):
    """Mean over the batch of -alpha[y] (1 - p[y])^gamma log p[y].

    gamma 0 without alpha is cross entropy. alpha: one weight a class, or None for equal weights. Computed from
    log-softmax, so that neither large logits nor p = 1 gives infinities or NaN, in the loss or its gradient.
    """

    def __init__(self, gamma: float = 1.0, alpha: Sequence[float] | None = None):
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma = {gamma}: it must be 0 or more")
        self.gamma = gamma
        self.alpha: Tensor | None
        self.register_buffer("alpha", None if alpha is None else torch.tensor(alpha, dtype=torch.float32))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (batch, classes), labels (batch,) int64 -> scalar."""
        log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]  # (batch,)
        loss = -log_p
        if self.gamma:
            # 1 - p with a floor: the gradient of x^gamma at 0 is infinite for gamma < 1
            loss = loss * (-torch.expm1(log_p)).clamp_min(1e-8) ** self.gamma
        if self.alpha is not None:
            loss = loss * self.alpha[labels]
        return loss.mean()
