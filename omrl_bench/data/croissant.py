"""Croissant metadata of a source: what machines that look for datasets read (MLCommons, Croissant 1.0)."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from omrl_bench import __version__
from omrl_bench.data.hosting import Index

CROISSANT = "croissant.json"
CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
FORMATS = {".hdf5": "application/x-hdf5", ".json": "application/json"}
OTHER_FORMAT = "application/octet-stream"

#: JSON-LD terms of the standard that are used here.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "field": "cr:field",
    "recordSet": "cr:recordSet",
}

FIELDS = {
    "dataset": ("sc:Text", "Minari id of the dataset"),
    "family": ("sc:Text", "set of MDPs that share spaces and differ in reward or dynamics"),
    "quality": ("sc:Text", "who made the data: mixed, expert, medium or random behaviour"),
    "fingerprint": ("sc:Text", "hash of everything that defines the family's MDPs"),
    "files": ("sc:Integer", "number of files"),
    "bytes": ("sc:Integer", "size of all files"),
}


def describe_source(index: Index, source: str, published: date) -> bytes:
    """Return the metadata of all datasets of a source, as JSON; addresses of files are relative to its root.

    Args:
        index: What the source has.
        source: Its address.
        published: The day of its last push.
    """
    names = sorted(index.datasets)
    metadata = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": "omrl-bench",
        "description": "Logged episodes of many tasks for offline meta-reinforcement learning, with the context sets "
        "that methods are given.",
        "license": "https://spdx.org/licenses/MIT",
        "url": source,
        "datePublished": published.isoformat(),
        "version": __version__,
        "citeAs": "The omrl-bench authors: omrl-bench, a benchmark suite for offline meta-reinforcement learning",
        "distribution": [file for name in names for file in _files(name, index)],
        "recordSet": [_datasets(names, index)],
    }
    return json.dumps(metadata, indent=1).encode() + b"\n"


def _files(name: str, index: Index) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": f"{name}/{file}",
            "name": f"{name}/{file}",
            "contentUrl": f"{name}/{file}",
            "contentSize": f"{hosted.size} B",
            "encodingFormat": FORMATS.get(f".{file.rpartition('.')[2]}", OTHER_FORMAT),
            "sha256": hosted.sha256,
        }
        for file, hosted in sorted(index.datasets[name].files.items())
    ]


def _datasets(names: list[str], index: Index) -> dict[str, Any]:
    """A row for each dataset."""
    rows = []
    for name in names:
        hosted = index.datasets[name]
        _, family, quality = name.split("/")
        values = name, family, quality.rpartition("-")[0], hosted.family_fingerprint, len(hosted.files), hosted.size
        rows.append({f"datasets/{field}": value for field, value in zip(FIELDS, values, strict=True)})
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"datasets/{field}",
            "name": f"datasets/{field}",
            "dataType": kind,
            "description": text,
        }
        for field, (kind, text) in FIELDS.items()
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "datasets",
        "name": "datasets",
        "description": "What there is.",
        "field": fields,
        "data": rows,
    }
