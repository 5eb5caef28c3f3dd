import pytest
import torch
import torch.nn.functional as F

from train.layers import PatchEmbed, patch_grid, patch_targets, take_patches


def test_embedding_equals_a_convolution_of_that_stride():
    images = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    embed = PatchEmbed(3, 4, 8).double()
    kernel = embed.proj.weight.view(8, 3, 4, 4)
    expected = F.conv2d(images, kernel, embed.proj.bias, stride=4).flatten(2).transpose(1, 2)
    found = embed(patch_grid(images, 4).flatten(1, 2))
    torch.testing.assert_close(found, expected)


def test_targets_are_in_pixel_order():
    images = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    targets = patch_targets(patch_grid(images, 2).flatten(1, 2))
    assert targets.shape == (2, 6, 12)
    for token in range(6):
        row, column = divmod(token, 3)
        patch = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        torch.testing.assert_close(targets[:, token], patch.permute(0, 2, 3, 1).flatten(1))


def test_patches_are_taken_by_raster_position():
    images = torch.randn(2, 3, 8, 12)
    grid = patch_grid(images, 4)
    tokens = torch.tensor([[5, 0, 3], [1, 1, 4]])
    every = grid.flatten(1, 2)
    expected = torch.stack([every[i, tokens[i]] for i in range(2)])
    torch.testing.assert_close(take_patches(grid, tokens), expected)


def test_a_patch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="does not divide"):
        patch_grid(torch.zeros(1, 1, 10, 10), 4)
