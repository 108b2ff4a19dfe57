import torch

from shotcount.networks.augment import random_crop_flip


def coordinates(batch: int, size: int) -> torch.Tensor:
    """Photos whose two channels hold each pixel's own position, 0 to 1."""
    axis = (torch.arange(size) + 0.5) / size
    one = torch.stack([axis.expand(size, size), axis[:, None].expand(size, size)])
    return one.expand(batch, 2, size, size).contiguous()


def test_nothing_asked_changes_nothing() -> None:
    x = coordinates(2, 16)
    assert random_crop_flip(x, 1.0, False, torch.Generator()) is x


def test_flip_mirrors_about_half_and_moves_nothing() -> None:
    x = coordinates(400, 16)
    y = random_crop_flip(x, 1.0, True, torch.Generator().manual_seed(0))
    mirrored = y[:, 0, 0, 0] > 0.5
    assert torch.allclose(y[~mirrored], x[~mirrored], atol=1e-5)
    assert torch.allclose(y[mirrored], x[mirrored].flip(3), atol=1e-5)
    assert 160 < mirrored.sum() < 240


def test_crops_are_distributed_as_the_recipe_says() -> None:
    x = coordinates(4000, 32)
    y = random_crop_flip(x, 0.5, False, torch.Generator().manual_seed(0))
    step = y[:, :, 16, 16] - y[:, :, 15, 15]  # pixels are further apart where less is shown
    side = 32 * step  # (B, 2): of the crop, as a share of the photo's
    assert torch.allclose(side[:, 0], side[:, 1], atol=1e-3)  # square
    area = side.prod(dim=1)
    assert area.min() >= 0.5 - 1e-3
    assert area.max() <= 1 + 1e-3
    # Uniform on 0.5..1: mean 0.75, sd 0.144.
    assert abs(area.mean() - 0.75) < 0.01
    assert abs(area.std() - 0.144) < 0.01
    # The place is uniform too, and the same crop never leaves the photo.
    corner = y[:, :, 0, 0] - side / 64
    room = (1 - side).clamp(min=1e-3)
    place = (corner / room)[side[:, 0] < 0.95]
    assert place.min() > -0.02
    assert place.max() < 1.02
    assert (place.mean(dim=0) - 0.5).abs().max() < 0.02


def test_same_generator_same_crops() -> None:
    x = torch.rand(4, 3, 16, 16)
    first, second = (random_crop_flip(x, 0.5, True, torch.Generator().manual_seed(7)) for _ in "ab")
    assert torch.equal(first, second)
