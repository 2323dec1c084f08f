"""Train the demonstration's network, and write it to nnkernels/digits.safetensors.

    python -P python/train_digits.py [--renew-data]

-P makes Python import the installed nnkernels, not the folder beside this file.

The data in nnkernels/digits.npz are from "Optical Recognition of Handwritten Digits" (E. Alpaydin,
C. Kaynak, 1998, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49; licence CC BY
4.0): 1797 digits by 13 writers, each a picture of 8 x 8 pixels from 0 to 16. A random third of each
class is held back. A writer's digits can be in both parts. --renew-data reads scikit-learn's copy
again.

If the weights change on purpose, set DIGITS_SHA256 in nnkernels/commands/demonstration.py to the
printed hash.
"""

from argparse import ArgumentParser
from pathlib import Path

import numpy as np

from nnkernels.commands.demonstration import Digits, as_inputs, learn_digits, read_digits, sha256

FOLDER = Path(__file__).with_name("nnkernels")
SOURCE = (
    'UCI "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998, '
    "https://doi.org/10.24432/C50P49, licence CC BY 4.0; scikit-learn's copy, unchanged"
)
SEED = 1998


def split_digits() -> Digits:
    """Return scikit-learn's copy of the data, split in two."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = (array.astype(np.uint8) for array in load_digits(return_X_y=True))
    train_pixels, held_pixels, train_labels, held_labels = train_test_split(
        pixels, labels, test_size=1 / 3, random_state=SEED, stratify=labels
    )
    return Digits(train_pixels, train_labels, held_pixels, held_labels, SOURCE)


def write_network(folder: Path) -> None:
    """Train, write the network, and print its hash and its accuracy on both parts."""
    digits = read_digits(folder)
    training = learn_digits(digits)
    training.network.save(folder / "digits.safetensors")
    print(f"SHA-256     {sha256(training)}")
    for side, pixels, labels in (
        ("trained on", digits.train_pixels, digits.train_labels),
        ("held back", digits.held_pixels, digits.held_labels),
    ):
        right = np.count_nonzero(training.network(as_inputs(pixels)).argmax(axis=-1) == labels)
        print(f"{side:10}  {right} of {len(labels)} right, {right / len(labels):.1%}")


def main() -> None:
    """Run the command line."""
    parser = ArgumentParser(description="Train the network of the demonstration, and write it.")
    parser.add_argument("--renew-data", action="store_true", help="write digits.npz from scikit-learn's copy first")
    if parser.parse_args().renew_data:
        np.savez_compressed(FOLDER / "digits.npz", **split_digits()._asdict())
    write_network(FOLDER)


if __name__ == "__main__":
    main()
