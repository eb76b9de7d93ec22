"""Fit a line to noisy points, and save it as `outputs/model.json`."""

import argparse
import json
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    random = np.random.default_rng(arguments.seed)
    x = np.linspace(0, 10, arguments.points)
    y = 2 * x + 1 + random.normal(scale=0.1, size=x.size)
    print(f"fitting a line to {x.size} points")
    slope, intercept = np.linalg.lstsq(np.stack([x, np.ones_like(x)], axis=1), y, rcond=None)[0]
    print(f"y = {slope:.3f} x + {intercept:.3f}")

    outputs = Path("outputs")
    outputs.mkdir(exist_ok=True)
    model = {"slope": float(slope), "intercept": float(intercept)}
    (outputs / "model.json").write_text(json.dumps(model))
    print(f"wrote {outputs / 'model.json'}")


if __name__ == "__main__":
    main()
