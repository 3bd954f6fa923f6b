"""AdamW with weight decay on matrices and kernels only."""

import torch


def build(net, lr, weight_decay):
    """Each parameter group remembers its peak rate as `peak`."""
    decay = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    out = torch.optim.AdamW([{"params": decay, "weight_decay": weight_decay},
                             {"params": plain, "weight_decay": 0.0}], lr=lr, betas=(0.9, 0.99))
    for group in out.param_groups:
        group["peak"] = lr
    return out
