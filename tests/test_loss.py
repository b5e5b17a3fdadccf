"""Tests of loss.py against torch's cross entropy, values worked by hand, and numeric differentiation."""

import math

import pytest
import torch
import torch.nn.functional as F

from loss import FocalLoss

P = (0.5, 0.25, 0.125, 0.0625, 0.0625)  # class probabilities whose logarithms are multiples of ln 2


def logits_of(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(64, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(5, (64,), generator=generator)


def test_gamma_zero_is_cross_entropy(batch):
    logits, labels = batch
    torch.testing.assert_close(FocalLoss(0.0)(logits, labels), F.cross_entropy(logits, labels))


def test_the_default_gamma_is_one(batch):
    assert FocalLoss()(*batch) == FocalLoss(1.0)(*batch)


@pytest.mark.parametrize(
    "gamma, label, expected",
    [
        (1.0, 0, 0.5 * math.log(2)),  # (1 - 1/2) ln 2
        (2.0, 1, 0.5625 * 2 * math.log(2)),  # (3/4)^2 ln 4
        (0.5, 1, math.sqrt(0.75) * 2 * math.log(2)),
        (3.0, 4, (15 / 16) ** 3 * 4 * math.log(2)),  # (15/16)^3 ln 16
    ],
)
def test_one_beat_by_hand(gamma, label, expected):
    assert FocalLoss(gamma)(logits_of(P), torch.tensor([label])).item() == pytest.approx(expected, rel=1e-7)


def test_a_batch_is_the_mean_of_its_beats():
    loss = FocalLoss(1.0)(logits_of(P, P), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((0.5 * math.log(2) + 0.75 * 2 * math.log(2)) / 2, rel=1e-7)


def test_alpha_weights_each_beat_by_its_class():
    loss = FocalLoss(0.0, alpha=(1.0, 3.0, 0.0, 1.0, 1.0))(logits_of(P, P, P), torch.tensor([0, 1, 2]))
    assert loss.item() == pytest.approx((1 * math.log(2) + 3 * 2 * math.log(2) + 0) / 3, rel=1e-6)


def test_equal_alpha_of_one_changes_nothing(batch):
    assert FocalLoss(2.0, alpha=[1.0] * 5)(*batch) == FocalLoss(2.0)(*batch)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_huge_logits_give_finite_loss_and_gradient(gamma):
    right, wrong = [1e4, -1e4, -1e4, -1e4, -1e4], [-1e4, 1e4, -1e4, -1e4, -1e4]
    for row, expected in ((right, 0.0), (wrong, 2e4)):  # p = 1, and p = exp(-20000)
        logits = torch.tensor([row], requires_grad=True)
        loss = FocalLoss(gamma)(logits, torch.tensor([0]))
        loss.backward()
        assert loss.item() == pytest.approx(expected, abs=1e-6)
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_p_that_rounds_to_one_gives_finite_gradient(gamma):
    for lead in (15.0, 17.0, 20.0, 90.0):
        logits = torch.tensor([[lead, 0.0, 0.0, 0.0, 0.0]], requires_grad=True)
        FocalLoss(gamma)(logits, torch.tensor([0])).backward()
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_gradient_equals_numeric_differentiation(batch, gamma):
    logits, labels = batch[0][:8].requires_grad_(), batch[1][:8]
    loss = FocalLoss(gamma, alpha=(1.0, 2.0, 0.5, 1.0, 1.0))
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,))


def test_negative_gamma_is_refused():
    with pytest.raises(ValueError, match="gamma = -1"):
        FocalLoss(-1)
