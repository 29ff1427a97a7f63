"""Products with matrices that are mostly zeros: filter banks, and functions that are linear between nodes.

Shape letters: B batch, R resolutions, N frames, F FFT bins, G nodes, M bands or other columns, K rows together.
"""

import torch
from torch import Tensor

GROUP = 16  # columns multiplied at once on a CPU: 2-4 times faster than the whole matrix of a mel bank

Group = tuple[int, int, int, int]  # first bin and end of what these columns see, first column and end


def hats(nodes: list[int], size: int) -> Tensor:
    """Functions that are 1 at one node, 0 at the others, linear between: [size, G]; at every place they sum to 1.

    >>> hats([0, 1, 3], 4).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    """
    place_F, node_G = torch.arange(size, dtype=torch.float64), torch.tensor(nodes, dtype=torch.float64)
    right_F = torch.searchsorted(node_G, place_F).clamp(min=1)
    share_F = (place_F - node_G[right_F - 1]) / (node_G[right_F] - node_G[right_F - 1])
    hat_FG = torch.zeros(size, len(nodes), dtype=torch.float64)
    hat_FG[torch.arange(size), right_F - 1] = 1 - share_F
    hat_FG[torch.arange(size), right_F] = share_F
    return hat_FG


def product(power_BRNF: Tensor, weight_FM: Tensor, groups: list[Group], first: int) -> Tensor:
    """Power [B, R, N, F] times weights [F, M], of which a CPU skips zeros; the power begins with bin `first`."""
    if power_BRNF.device.type != "cpu":
        return power_BRNF @ weight_FM[first : first + power_BRNF.shape[-1]]
    power_KF = power_BRNF.flatten(0, 2)
    parts = [power_KF[:, low - first : high - first] @ weight_FM[low:high, i:j] for low, high, i, j in groups]
    return torch.cat(parts, dim=1).view(*power_BRNF.shape[:-1], weight_FM.shape[1])


def groups_of(seen_FM: Tensor) -> list[Group]:
    """Groups of columns for the products on a CPU; one group if several save little."""
    F, M = seen_FM.shape
    groups = []
    for begin in range(0, M, GROUP):
        end = min(begin + GROUP, M)
        bins = seen_FM[:, begin:end].any(dim=1).nonzero()[:, 0].tolist()
        groups.append((bins[0], bins[-1] + 1, begin, end))
    work = sum((high - low) * (end - begin) for low, high, begin, end in groups)
    first, last = min(g[0] for g in groups), max(g[1] for g in groups)
    return groups if work < 0.7 * F * M else [(first, last, 0, M)]
