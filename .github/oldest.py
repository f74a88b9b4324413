"""Print constraints that pin every dependency to the lower bound pyproject.toml gives it.

python .github/oldest.py > oldest.txt && pip install ".[test]" --constraint oldest.txt
"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
    name, bound = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
    print(f"{name}=={bound}")
