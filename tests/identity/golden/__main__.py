"""Writes the golden vectors anew; the diff is what every user's tags will do."""

from __future__ import annotations

import json

from envbuild.identity.digest import digest_recipe, format_tag, identity_fields
from tests.identity.golden import FOLDER, PLAN, RECIPES, dump_recipe

for name, recipe in RECIPES.items():
    digest = digest_recipe(recipe, assembler=2, plan=PLAN)
    vector = {
        "remake": "python -m tests.identity.golden",
        "recipe": dump_recipe(recipe),
        "assembler": 2,
        "plan": PLAN,
        "fields": identity_fields(recipe, assembler=2, plan=PLAN),
        "digest": digest,
        "tag": format_tag(digest),
    }
    text = json.dumps(vector, indent=2, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
