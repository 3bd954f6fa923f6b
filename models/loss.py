"""InfoNCE over two views of each instance, plus the entropy term of SSCD.

`contrastive(z, tau, weight)`: z is float32, 2B x D, unit rows, row i matches row
i + B. Returns the loss and a dict of figures: top1 (share of rows whose nearest other
row is the match), pos and near (mean cosine of the match and of the nearest non-match).
"""

import torch
import torch.nn.functional as F


def contrastive(z, tau=0.05, weight=0.0):
    n = len(z)
    rows = torch.arange(n, device=z.device)
    target = rows.roll(n // 2)
    sim = z @ z.T
    eye = torch.eye(n, dtype=torch.bool, device=z.device)
    nce = F.cross_entropy(sim.masked_fill(eye, -1e4) / tau, target)
    pos = sim[rows, target]
    match = eye.clone()
    match[rows, target] = True
    near = sim.masked_fill(match, -2.0).max(1).values
    # distance of unit vectors: sqrt(2 - 2 cos)
    spread = -0.5 * torch.log((2.0 - 2.0 * near).clamp(min=1e-4)).mean()
    figures = {"nce": nce.item(), "top1": (pos > near).float().mean().item(),
               "pos": pos.mean().item(), "near": near.mean().item()}
    return nce + weight * spread, figures
