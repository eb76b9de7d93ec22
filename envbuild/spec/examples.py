"""The examples of the reference, by the table they show; a test loads every one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["EXAMPLES", "WHOLE"]

WHOLE: Final = """\
description = "CPU training and scoring"
platforms = ["linux-64", "linux-aarch64"]
python = "3.11.*"

[conda]
dependencies = ["numpy 2.*", "scikit-learn"]

[pip]
dependencies = ["azureml-inference-server-http>=1.4"]

[env]
MESSAGE = "hello"

[train]
script = "train.py"
source = "examples/iris"
arguments = ["--epochs", "2"]
resources = { cpus = 2, memory = "4g" }

[smoke]
entry-script = "score.py"
source = "examples/iris"
models = ["outputs/model.pkl"]

[[smoke.request]]
json = { data = [[5.1, 3.5, 1.4, 0.2]] }
expect = { json = [0], max-ms = 500 }
"""

EXAMPLES: Final[Mapping[str, str]] = {
    "": """\
description = "CPU training"
platforms = ["linux-64"]
python = "3.11.*"
""",
    "extends": """\
extends = "envbuild-scientific"
description = "Vision: the scientific environment, with torch and without matplotlib"

[pip]
dependencies = ["torch>=2.4"]
without = ["matplotlib"]
""",
    "conda": """\
[conda]
channels = ["conda-forge"]
dependencies = ["numpy 2.*", "pandas >=2.1,<3", "pytorch=2.4=cpu_*"]
""",
    "conda.virtual-packages": """\
[conda.virtual-packages]
glibc = "2.36"
cuda = "12.4"
""",
    "pip": """\
[pip]
dependencies = ["httpx>=0.27", "uvicorn[standard]", 'tomli>=2; python_version < "3.11"']
extra-index-urls = ["https://${ACME_TOKEN}@pkgs.example.com/simple"]
resolver = "pip-tools"
constraints = ["urllib3<3"]
build-from-source = ["antlr4-python3-runtime"]
local = ["src/acme"]
""",
    "system": """\
[system]
packages = ["libgomp1", "git"]
""",
    "platform.NAME": """\
platforms = ["linux-64", "linux-aarch64"]

[platform.linux-aarch64.pip]
dependencies = ["psutil>=6"]
""",
    "image": """\
[image]
base = "debian:bookworm"
repository = "registry.example.com/team"
user = "nonroot"
labels = { team = "vision" }
""",
    "image.source": """\
[[image.source]]
path = "models"
target = "/srv/models"

[[image.source]]
path = "config/service.yaml"
target = "/etc/service.yaml"
""",
    "train": """\
[train]
script = "train.py"
source = "examples/iris"
arguments = ["--epochs", "2"]
outputs = ["outputs"]
max-duration = "2h"
""",
    "train.resources": """\
[train.resources]
cpus = 2
memory = "4g"
gpus = 0
shm-size = "2g"
""",
    "smoke": """\
[smoke]
command = ["uvicorn", "app:app", "--host", "0.0.0.0", "--port", "8000"]
port = 8000
source = "service"
ready-path = "/health"
ready-timeout = "30s"
""",
    "smoke.resources": """\
[smoke.resources]
cpus = 1
memory = "1g"
""",
    "smoke.request": """\
[[smoke.request]]
path = "/predict?verbose=1"
json = { data = [[5.1, 3.5, 1.4, 0.2]] }
headers = { Accept = "application/json" }

[[smoke.request]]
path = "/health"
method = "GET"
""",
    "smoke.request.expect": """\
[[smoke.request]]
json = { data = [[5.1, 3.5, 1.4, 0.2]] }

[smoke.request.expect]
status = 200
json = { score = 0.93 }
tolerance = 0.01
max-ms = 500
""",
    "tool.envbuild": """\
[tool.envbuild]
repository = "registry.example.com/team"
default-environment = "cpu"
debian-archives = ["https://mirror.example.com/debian"]

[tool.envbuild.mirrors]
"https://conda.example.com" = ["https://mirror.example.com/conda"]
""",
    "tool.envbuild.defaults": """\
[tool.envbuild.defaults]
python = "3.11.*"
platforms = ["linux-64", "linux-aarch64"]

[tool.envbuild.defaults.pip]
extra-index-urls = ["https://${ACME_TOKEN}@pkgs.example.com/simple"]
""",
    "tool.envbuild.registries.NAME": """\
[tool.envbuild.registries."registry.example.com:5000"]
ca = "certificates/registry.pem"
plain-http = false
""",
}
"""By dotted key; the one at "" is the file's top."""
