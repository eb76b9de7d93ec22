"""Serve the line: `init()` once for each worker, `run()` once for each request."""

import json
import os
from pathlib import Path

model: dict[str, float] = {}


def init() -> None:
    file = Path(os.environ["AZUREML_MODEL_DIR"]) / "model.json"
    model.update(json.loads(file.read_text()))


def run(data: str) -> list[float]:
    return [model["slope"] * x + model["intercept"] for x in json.loads(data)["data"]]
