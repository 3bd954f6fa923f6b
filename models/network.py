"""The descriptor network: plain convolutions, GeM pooling, one linear layer.

Input   float32, N x 3 x H x W, oriented RGB over white, (x / 255 - MEAN) / STD.
Output  float32, N x 256, unit L2 norm; similarity is the dot product (-1..1).

Module paths are the tensor names of the exported file (see export.py):
stem, stage{1,2,3}.down, stage{1,2,3}.block{i}, head, fc.
Every convolution is followed by BatchNorm and ReLU; a block is ReLU(BN(conv(x)) + x).
3x3 convolutions pad by 1 with zeros; stem and `down` have stride 2. `head` is 1x1.
"""

import torch
import torch.nn.functional as F
from torch import nn

MEAN = 0.5  # per channel, after x / 255
STD = 0.25
GEM_P = 3.0
GEM_EPS = 1e-6  # activations are clamped from below before the power
DIM = 256

# channels of stem, stage1, stage2, stage3, head; blocks per stage after `down`
ARCHS = {
    "doppel-t": ((24, 48, 96, 192, 384), (1, 2, 2)),
    "doppel-s": ((32, 64, 128, 256, 512), (1, 2, 2)),
}


class ConvBn(nn.Module):
    """conv -> BN -> (+ x) -> ReLU."""

    def __init__(self, cin, cout, kernel=3, stride=1, residual=False):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(cout)
        self.residual = residual
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if residual:  # blocks start near the identity
            nn.init.constant_(self.bn.weight, 0.25)

    def forward(self, x):
        y = self.bn(self.conv(x))
        if self.residual:
            y = y + x
        return F.relu(y)


class Stage(nn.Module):
    def __init__(self, cin, cout, blocks):
        super().__init__()
        self.down = ConvBn(cin, cout, stride=2)
        self.count = blocks
        for i in range(blocks):
            setattr(self, f"block{i}", ConvBn(cout, cout, residual=True))

    def forward(self, x):
        x = self.down(x)
        for i in range(self.count):
            x = getattr(self, f"block{i}")(x)
        return x


def gem(x):
    """Generalised mean over space, p = 3 (N x C x H x W -> N x C)."""
    return x.float().clamp(min=GEM_EPS).pow(GEM_P).mean((2, 3)).pow(1.0 / GEM_P)


class Network(nn.Module):
    """`forward` gives the unit embedding, `features` the vector before L2."""

    def __init__(self, arch="doppel-t"):
        super().__init__()
        channels, blocks = ARCHS[arch]
        self.arch = arch
        self.stem = ConvBn(3, channels[0], stride=2)
        for i in range(3):
            setattr(self, f"stage{i + 1}", Stage(channels[i], channels[i + 1], blocks[i]))
        self.head = ConvBn(channels[3], channels[4], kernel=1)
        self.fc = nn.Linear(channels[4], DIM, bias=True)
        self.out_bn = nn.BatchNorm1d(DIM, affine=False)  # folds into fc

    def features(self, x):
        return self.rest(self.stage1(self.stem(x)))

    def rest(self, x):
        """From what stage1 gives to the vector before L2."""
        x = gem(self.head(self.stage3(self.stage2(x))))
        with torch.autocast(x.device.type, enabled=False):
            return self.out_bn(self.fc(x.float()))

    def forward(self, x):
        return F.normalize(self.features(x), dim=1)


def normalise_pixels(u8):
    """uint8 N x H x W x 3 (RGB), an array or a tensor on any device -> float32 N x 3 x H x W, channels last in memory."""
    x = (u8 if torch.is_tensor(u8) else torch.tensor(u8)).permute(0, 3, 1, 2).float()
    return (x - 255.0 * MEAN) / (255.0 * STD)


def folded(net):
    """Fold every BN of an eval-mode network: dict of name -> float32 tensor.

    conv: `<path>.weight` (out, in, k, k), `<path>.bias` (out);
    fc: `fc.weight` (256, head), `fc.bias` (256).
    """
    out = {}
    for name, module in net.named_modules():
        if isinstance(module, ConvBn):
            scale = module.bn.weight / torch.sqrt(module.bn.running_var + module.bn.eps)
            out[f"{name}.weight"] = module.conv.weight * scale[:, None, None, None]
            out[f"{name}.bias"] = module.bn.bias - module.bn.running_mean * scale
    scale = 1.0 / torch.sqrt(net.out_bn.running_var + net.out_bn.eps)
    out["fc.weight"] = net.fc.weight * scale[:, None]
    out["fc.bias"] = (net.fc.bias - net.out_bn.running_mean) * scale
    return {k: v.detach().float().contiguous() for k, v in out.items()}


def frozen_front(net):
    """stem and stage1 as they are now, without gradients: uint8 N x H x W x 3 -> what `rest` takes, in bf16."""
    layers = [(m, t) for m, t in folded(net.eval()).items() if m.startswith(("stem.", "stage1."))]
    tensors = {k: v.bfloat16().contiguous(memory_format=torch.channels_last if v.ndim == 4 else torch.contiguous_format)
               for k, v in layers}

    @torch.no_grad()
    def front(u8):
        x = torch.from_numpy(u8).permute(0, 3, 1, 2).bfloat16().sub_(255.0 * MEAN).mul_(1 / (255.0 * STD))
        for name in dict.fromkeys(k.rsplit(".", 1)[0] for k in tensors):
            block = "block" in name
            y = F.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], 1 if block else 2, 1)
            x = F.relu_(y.add_(x) if block else y)
        return x

    return front


def forward_folded(tensors, x, blocks=(1, 2, 2)):
    """Inference from folded tensors alone: the reading that other runtimes mirror."""

    def conv(name, x, stride=1, residual=False):
        w = tensors[f"{name}.weight"].float()
        y = F.conv2d(x, w, tensors[f"{name}.bias"].float(), stride, w.shape[-1] // 2)
        return F.relu(y + x if residual else y)

    x = conv("stem", x, 2)
    for s, count in enumerate(blocks, 1):
        x = conv(f"stage{s}.down", x, 2)
        for i in range(count):
            x = conv(f"stage{s}.block{i}", x, residual=True)
    x = gem(conv("head", x))
    x = F.linear(x, tensors["fc.weight"].float(), tensors["fc.bias"].float())
    return F.normalize(x, dim=1)
