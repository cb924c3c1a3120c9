"""A softmax head whose rows stay on a device: absolute times, and the same in numpy to compare.

Rows as features of a network behind a ReLU, in float32 as networks give them. Wall-clock times; on a
CPU with the threads that there are.

    python benchmarks/head_on_device.py                      (a CUDA device if there is one)
    python benchmarks/head_on_device.py --rows 20000 --numpy  (a minute on one thread)
"""

import argparse
import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.distributed import fit

TESTS = 100


def features(n, d, k, device):
    """Rows (n, d) on the device and labels in numpy."""
    generator = torch.Generator(device=device).manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, device=device)

    y = torch.randint(k, (n,), generator=generator, device=device)
    centres, mix = normal(k, 64), normal(64, d) / 8.0
    X = torch.empty((n, d), device=device)
    for rows in torch.arange(n, device=device).split(100_000):
        hidden = normal(len(rows), 64) + 0.5 * centres[y[rows]]
        X[rows] = (hidden @ mix + 0.3 * normal(len(rows), d)).relu()
    return X, y.cpu().numpy()


def timed(what, call, device):
    start = time.perf_counter()
    result = call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    print(f"  {what:42s}{time.perf_counter() - start:9.2f} s", flush=True)
    return result


def answers(model, X, y, device, **options):
    """Times and answers for rows in one place."""
    test = X[:TESTS], y[:TESTS]
    inf = timed("factor", lambda: Influence(model, X, y, **options), device)
    found = [
        timed(
            f"influence of all rows on {TESTS} tests", lambda: inf.influence_up_loss(*test), device
        )
    ]
    if options.get("solver") != "cg":
        found.append(timed("self-influence of all rows", inf.self_influence, device))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--numpy", action="store_true", help="the same rows in numpy, float64")
    parser.add_argument("--exact", action="store_true", help="products in float64 too")
    args = parser.parse_args()

    device = torch.device(args.device)
    X, y = features(args.rows, args.columns, args.classes, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(
        f"{args.rows} x {args.columns} x {args.classes} in float32 on {name}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    model = LogisticRegression(C=1.0 / (0.01 * args.rows))
    # Newton's method with a Cholesky factor per step, on the device.
    timed("fit to round-off", lambda: fit(model, X, y), device)
    precisions = ["mixed", *(["float64"] if args.exact else [])]
    found = {}
    for precision in precisions:
        print(f"precision={precision!r}")
        found[precision] = answers(model, X, y, device, precision=precision)
    if args.numpy:
        host = X.cpu().double().numpy()
        for precision in precisions:
            print(f"numpy, precision={precision!r}")
            expected = answers(model, host, y, torch.device("cpu"), precision=precision)
            for one, other in zip(found[precision], expected, strict=True):
                error = np.abs(one - other).max() / np.abs(other).max()
                print(f"  largest difference, relative to the largest entry: {error:.1e}")


if __name__ == "__main__":
    main()
