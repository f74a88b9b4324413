"""Command ``presets``: the list of presets, or one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dmft.cli.exits import DONE
from dmft.cli.output import print_json
from dmft.cli.streams import put

if TYPE_CHECKING:
    import argparse

__all__ = ["run_presets"]


def run_presets(arguments: argparse.Namespace) -> int:
    """List the presets, or print one."""
    from dmft.config.config import load_preset
    from dmft.config.run_sources import preset_names, preset_text

    if arguments.show is not None:
        text = preset_text(arguments.show)
        if arguments.json:
            print_json(load_preset(arguments.show).to_config())
        else:
            put(text, end="")
        return DONE
    titles = {name: load_preset(name).title for name in preset_names()}
    if arguments.json:
        print_json(titles)
    else:
        width = max(map(len, titles))
        put("\n".join(f"{name:{width}}  {title}" for name, title in titles.items()))
    return DONE
