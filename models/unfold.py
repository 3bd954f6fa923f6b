"""Warm start: an exported (folded) network turned back into one that can be trained on.

Every BatchNorm gets the statistics that its input has on `images` and the scale and shift
that undo them, so that the function is the exported one, in training mode too up to the
noise of a batch. Filters get the norm of fresh ones; their scale is BatchNorm's to choose.
The exported last layer is whitened: features of unlike variance. A random rotation makes
the variances alike, so that the closing BatchNorm is nearly a scalar; it changes no cosine.
"""

import math

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from network import ConvBn, Network
from widen import widen


def rotation(n, seed):
    q, r = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


def unfold(path, arch, images, seed=0):
    """The network in `path` (safetensors of export.py), fitted on normalised `images` (N x 3 x H x W); widened when `arch` is a wider one."""
    tensors = {k: v.float() for k, v in load_file(path).items()}
    with safe_open(path, "pt") as f:
        small = f.metadata()["arch"]
    if small != arch:
        tensors = widen(tensors, small, arch, seed)
    net = Network(arch).eval()
    hooks = []

    def fit(bn, gain, bias):
        """Set the layer from what reaches it; the hook runs before the layer does."""
        def hook(module, inputs):
            x = inputs[0].float()
            var, mean = torch.var_mean(x, [d for d in range(x.ndim) if d != 1], correction=0)
            module.running_mean.copy_(mean)
            module.running_var.copy_(var)
            if module.affine:
                module.weight.copy_(gain * torch.sqrt(var + module.eps))
                module.bias.copy_(bias + gain * mean)
        hooks.append(bn.register_forward_pre_hook(hook))

    with torch.no_grad():
        for name, module in net.named_modules():
            if isinstance(module, ConvBn):
                weight = tensors[f"{name}.weight"]
                cout, cin, k, _ = weight.shape
                fresh = math.sqrt(2.0 / (cout * k * k) * cin * k * k)  # norm of a filter when drawn
                gain = weight.flatten(1).norm(dim=1).clamp(min=1e-6) / fresh
                module.conv.weight.copy_(weight / gain[:, None, None, None])
                fit(module.bn, gain, tensors[f"{name}.bias"])
        turn = rotation(len(tensors["fc.weight"]), seed)
        scale = 0.6 / tensors["fc.weight"].norm(dim=1).square().mean().sqrt()  # norm of a row when drawn
        net.fc.weight.copy_(scale * turn @ tensors["fc.weight"])
        net.fc.bias.copy_(scale * turn @ tensors["fc.bias"])
        fit(net.out_bn, None, None)
        net(images)
    for h in hooks:
        h.remove()
    return net
