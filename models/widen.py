"""A wider network that computes what an exported one does: the start of a larger one's training.

Net2Net (Chen et al., ICLR 2016): new channels repeat old ones, and what reads a repeated channel shares its weight among
the copies. The shares are drawn unequal and the copies' filters get some noise, so that training tells them apart.
"""

import torch

from network import ARCHS

NOISE = 0.05  # of a filter's own deviation, on copies alone


def _grow(old, new, g):
    """For each of `new` channels the one of `old` that it repeats, and its share in it (the shares of one sum to 1)."""
    source = torch.cat([torch.arange(old), torch.randperm(old, generator=g)[:new - old]])
    share = torch.ones(new)
    kept = 0.3 + 0.4 * torch.rand(new - old, generator=g)
    share[source[old:]] = kept
    share[old:] = 1 - kept
    return source, share


def widen(tensors, small, large, seed=0):
    """Folded tensors of arch `small` (see network.folded) as those of arch `large`: same blocks, up to twice the channels."""
    (a, blocks), (b, same) = ARCHS[small], ARCHS[large]
    if blocks != same or not all(x <= y <= 2 * x for x, y in zip(a, b)):
        raise ValueError(f"{small} does not widen into {large}")
    g = torch.Generator().manual_seed(seed)
    grown = [_grow(x, y, g) for x, y in zip(a, b)]
    order = ["stem"]
    for s, count in enumerate(blocks, 1):
        order += [f"stage{s}.down"] + [f"stage{s}.block{i}" for i in range(count)]
    order.append("head")
    level = {name: 4 if name == "head" else 0 if name == "stem" else int(name[5]) for name in order}
    out = {}
    reads = None  # the channels that the layer reads
    for name in order:
        source, _ = grown[level[name]]
        weight = tensors[f"{name}.weight"][source].clone()
        old = a[level[name]]
        if reads is not None:
            weight = weight[:, reads[0]] * reads[1][None, :, None, None]
        noise = torch.randn(weight[old:].shape, generator=g)
        weight[old:] += NOISE * noise * weight[old:].flatten(1).std(1)[:, None, None, None]
        out[f"{name}.weight"] = weight
        out[f"{name}.bias"] = tensors[f"{name}.bias"][source].clone()
        reads = grown[level[name]]
    out["fc.weight"] = tensors["fc.weight"][:, reads[0]] * reads[1][None, :]
    out["fc.bias"] = tensors["fc.bias"].clone()
    return out
