"""WHAT is a file? Pure.

Problem: describe one write of a file so that a replica can hold it in one small record, whatever the file's size, and a
reader can turn any byte range into the few chunks it needs.

Rule: a `Version` is a stamp, the file's outward properties and either its bytes (small files, inline) or a `Manifest`.
A manifest with more than PAGE_CHUNKS chunks does not list them; it lists pages, which are stored as chunks themselves,
so the record of a 1 TiB file stays small and its list is never rewritten. Names are bytes the client chose: never
normalised, never interpreted as paths of a file system.

Alternatives: one row per block under the file (Garage) is rewritten for every block; nested manifests of any depth add
a tree nobody needs: 1024 pages of 1024 chunks of 1 MiB are 1 TiB.
"""

from dynafs.files.manifest import Manifest, Span, spans_of
from dynafs.files.name import FileName
from dynafs.files.policy import BucketPolicy
from dynafs.files.version import Record, Version, VersionKind

__all__ = ["BucketPolicy", "FileName", "Manifest", "Record", "Span", "Version", "VersionKind", "spans_of"]
