"""Serve the classifier: `init()` once per worker, `run()` once per request."""

import json
import os
from pathlib import Path

import joblib

model = None


def init() -> None:
    global model
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")


def run(data: str) -> list[str]:
    flowers = json.loads(data)["data"]
    return [str(name) for name in model.predict(flowers)]
