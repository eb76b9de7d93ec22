"""Train a random forest on scikit-learn's digits; save it with its accuracy in `outputs`."""

import argparse
import json
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.data, digits.target, test_size=0.3, random_state=arguments.seed
    )
    print(f"training {arguments.trees} trees on {len(train_x)} digits")
    model = RandomForestClassifier(arguments.trees, random_state=arguments.seed, n_jobs=-1)
    model.fit(train_x, train_y)
    accuracy = float(model.score(test_x, test_y))
    print(f"accuracy on {len(test_x)} others: {accuracy:.3f}")

    outputs = Path("outputs")
    outputs.mkdir(exist_ok=True)
    joblib.dump(model, outputs / "model.joblib")
    (outputs / "metrics.json").write_text(json.dumps({"accuracy": accuracy}))
    print(f"wrote {outputs / 'model.joblib'}")


if __name__ == "__main__":
    main()
