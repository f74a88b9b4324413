"""Command ``show``: what a result file holds, printed, redrawn or written for others."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli.exits import DONE, PROGRAM, UsageError
from dmft.cli.output import print_json
from dmft.cli.streams import put, say
from dmft.io.stamps import free_path, stamped

if TYPE_CHECKING:
    import argparse

    from dmft.io.result import Result

__all__ = ["FORMATS", "run_show"]

#: Formats of the command; the last ones are figures.
FORMATS = ("text", "json", "csv", "nc", "pdf", "png", "svg")
_LONGEST = 80  # letters of a setting


def run_show(arguments: argparse.Namespace) -> int:
    """Print a result file, or write it in another format; nothing is computed."""
    from dmft.io.results import read_header
    from dmft.scans.loading import load_kind

    path, kind = Path(arguments.file), arguments.format
    header = read_header(path)
    result = load_kind(path, header["kind"])
    if kind == "json":
        print_json(_json(path, header, result))
        return DONE
    written = None if kind == "text" else _write(result, path, header, arguments)
    put(_text(path, header, result, written))
    return DONE


def _write(
    result: Result, path: Path, header: dict[str, Any], arguments: argparse.Namespace
) -> Path:
    """Write a table or figure beside the file, or where asked; return its path.

    Nothing but the same contents, or a figure of the same settings, is overwritten.
    """
    from dmft.io.results import whole_file

    kind, out = arguments.format, arguments.out
    name = path.with_suffix(f".{kind}") if out is None else Path(out)
    if out is not None and (name.is_dir() or out.endswith(("/", os.sep))):
        name = name / f"{path.stem}.{kind}"
        name.parent.mkdir(parents=True, exist_ok=True)
    if name.suffix != f".{kind}":
        name = name.with_name(f"{name.name}.{kind}")
    source = path if path.exists() else path.with_name(f"{path.name}.npz")
    stamp = header["settings"] or hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    try:
        with tempfile.TemporaryDirectory() as folder, stamped(stamp):
            data = _made(result, Path(folder) / f"made.{kind}", kind).read_bytes()
    except ImportError as error:
        raise UsageError(str(error)) from None
    free = name if arguments.force else free_path(name, stamp, data)
    if free != name:
        say(f"{PROGRAM}: {name} has other contents: writing {free} (or use --force)")
    with whole_file(free) as stream:
        stream.write(data)
    return free


def _made(result: Result, path: Path, kind: str) -> Path:
    """Write a table or figure to a path."""
    if kind == "csv":
        from dmft.io.tables import to_csv

        return to_csv(result, path)
    if kind == "nc":
        return result.to_netcdf(path)
    from dmft import plotting

    return plotting.save_figure(plotting.figure_of(result), path)


def _text(path: Path, header: dict[str, Any], result: Result, written: Path | None) -> str:
    from dmft.io.report_text import report_text

    commit = f", commit {header['commit']}" if header["commit"] else ""
    lines = [
        ("file", str(path)),
        ("holds", f"{header['kind']} (dmft.{type(result).__name__})"),
        ("written by", f"delta-nn {header['version']}{commit}"),
    ]
    last = [] if written is None else [("wrote", str(written))]
    settings = [(name, _shortened(value)) for name, value in _flat(result.config, "")]
    parts = [report_text(lines, []), result.summary(), report_text(settings, last)]
    return "\n\n".join(parts)


def _flat(config: Any, name: str) -> list[tuple[str, Any]]:
    """Return nested settings as pairs, names joined by dots."""
    if isinstance(config, dict) and config:
        pairs = []
        for key, value in config.items():
            pairs += _flat(value, f"{name}.{key}" if name else str(key))
        return pairs
    return [(name, config)]


def _shortened(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def _json(path: Path, header: dict[str, Any], result: Result) -> dict[str, Any]:
    from dmft.io.quantities import notes, quantities

    return {
        "file": str(path),
        **{key: header[key] for key in ("kind", "version", "commit")},
        **notes(result),
        "quantities": {
            name: {"dims": entry.dims, "units": entry.unit, "values": entry.values}
            for name, entry in quantities(result).items()
        },
        "config": result.config,
    }
