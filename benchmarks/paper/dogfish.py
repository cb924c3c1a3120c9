"""Dog against fish: pictures of both, and a network in front of them."""

import io
import sys
import zipfile
from pathlib import Path

import networks
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data import ORIGINALS, add_data_option, folder

from skinfluence.neural import TorchFeaturizer

# px of the pictures a network takes.
SIZES = {"efficientnet": 224, "inception": 299}

ORIGINALS["dogfish"] = "Imagenette v2 (English springer and tench)"


def add_picture_options(parser):
    """``--data``, ``--train``, ``--test``, ``--seed``."""
    add_data_option(parser)
    parser.add_argument("--train", type=int, default=900, help="training pictures of each kind")
    parser.add_argument("--test", type=int, default=300, help="test pictures of each kind")
    parser.add_argument("--seed", type=int, default=0)


def add_network_options(parser):
    """``--network``, ``--inception``, ``--cache``."""
    parser.add_argument("--network", choices=["efficientnet", "inception"], default="efficientnet")
    parser.add_argument("--inception", metavar="DIR", help="the unpacked npm package nsfwjs 4.3.0")
    parser.add_argument("--cache", metavar="DIR", help="where features are kept between runs")


def featurizer(args):
    """The network of the options as a transformer of pictures in 0 .. 1."""
    if args.network == "efficientnet":
        net, layer = networks.efficientnet_lite0()
    else:
        net, layer = networks.inception_v3(args.inception), None
    return TorchFeaturizer(net, layer, batch_size=32, dtype="float32", memory=args.cache)


def load_pictures(args, size=224):
    """Pictures (n, 3, size, size) in 0 .. 1, float32, and labels (1 is dog): train, then test.

    Last the positions of both in the archive, which is the order of the feature files.
    """
    from PIL import Image

    archive = zipfile.ZipFile(folder(args.data, "dogfish") / "images224.zip")
    rng = np.random.default_rng(args.seed)
    place = {name: i for i, name in enumerate(archive.namelist())}
    out, positions = [], []
    for split, n in (("train", args.train), ("val", args.test)):
        names = []
        for kind in ("fish", "dog"):
            every = [m for m in archive.namelist() if m.startswith(f"{split}/{kind}/")]
            names += sorted(rng.choice(every, n, replace=False).tolist())
        pictures = np.empty((2 * n, 3, size, size), np.float32)
        for i, name in enumerate(names):
            picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            if picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.BILINEAR)
            pictures[i] = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255.0
        out += [pictures, np.repeat([0, 1], n)]
        positions.append(np.array([place[name] for name in names]))
    return *out, *positions
