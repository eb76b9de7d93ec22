"""Train a nearest-neighbours classifier on the iris data and save it with its accuracy."""

import argparse
import json
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neighbors", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    iris = load_iris()
    train_x, test_x, train_y, test_y = train_test_split(
        iris.data, iris.target_names[iris.target], test_size=0.3, random_state=arguments.seed
    )
    print(f"training on {len(train_x)} flowers with {arguments.neighbors} neighbours")
    model = KNeighborsClassifier(n_neighbors=arguments.neighbors).fit(train_x, train_y)
    accuracy = model.score(test_x, test_y)
    print(f"accuracy on {len(test_x)} others: {accuracy:.3f}")

    outputs = Path("outputs")
    outputs.mkdir(exist_ok=True)
    joblib.dump(model, outputs / "model.joblib")
    (outputs / "metrics.json").write_text(json.dumps({"accuracy": accuracy}))
    print(f"wrote {outputs / 'model.joblib'}")


if __name__ == "__main__":
    main()
