"""Train the network that ``python -m nnkernels`` shows, and write it and the digits it has never seen.

    python -P python/train_digits.py

(-P makes it import the installed nnkernels, not the folder beside it.) Needs scikit-learn, which has a copy of the data:
"Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998, UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49), licence CC BY 4.0. It is the 1797 digits that 13 people wrote, each a picture of 8 x 8
pixels from 0 to 16. A third of each digit's pictures, drawn at random, is held back, so that a writer can be on both sides.
Writes nnkernels/digits.safetensors (the network) and nnkernels/digits.npz (the digits held back, unchanged).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import nnkernels as nnk

SOURCE = (
    'UCI "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998, '
    "https://doi.org/10.24432/C50P49, licence CC BY 4.0; scikit-learn's copy, a third of it, unchanged"
)
SEED = 1998
FOLDER = Path(__file__).with_name("nnkernels")


def split() -> list[NDArray[np.uint8]]:
    """Return pixels to train on, pixels held back, labels to train on, labels held back."""
    pixels, labels = (array.astype(np.uint8) for array in load_digits(return_X_y=True))
    sides: list[NDArray[np.uint8]] = train_test_split(pixels, labels, test_size=1 / 3, random_state=SEED, stratify=labels)
    return sides


def main() -> None:
    """Train, write, and print how often the network is right on each side of the split."""
    train_pixels, held_pixels, train_labels, held_labels = split()

    classifier = MLPClassifier((64,), alpha=0.1, max_iter=1000, random_state=SEED)
    classifier.fit(train_pixels / 16, train_labels)

    layers = [
        nnk.Dense(weights.T, bias, activation)
        for weights, bias, activation in zip(classifier.coefs_, classifier.intercepts_, ("relu", "softmax"), strict=True)
    ]
    net = nnk.Network(layers, np.float32)
    net.save(FOLDER / "digits.safetensors")
    np.savez_compressed(FOLDER / "digits.npz", pixels=held_pixels, labels=held_labels, source=np.array(SOURCE))

    for side, rows, digits in (("trained on", train_pixels, train_labels), ("held back", held_pixels, held_labels)):
        right = np.count_nonzero(net(rows / 16).argmax(axis=-1) == digits)
        print(f"{side:10}  {right} of {len(digits)} right, {right / len(digits):.1%}")


if __name__ == "__main__":
    main()
