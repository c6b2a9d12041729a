"""Checksums inside of records and tables: what is read is what was written, bit for bit.

A record ends with the SHA-256 of everything before it; a Parquet file carries, in its metadata,
the SHA-256 of itself with zeros in the place of the digest, so that any JSON or Parquet reader
still takes both. Files of releases without checksums have none, and are read as before: what is
checked in them is that they hold together. A checksum finds damage, not forgery: whoever can
write a file can write its digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from clsweep.records.schema import Record, bad_record, check_record

_DIGITS = 64
_BEGIN, _END = b', "sha256": "', b'"}'
_SEAL_LENGTH = len(_BEGIN) + _DIGITS + len(_END)

_TABLE_KEY = b"clsweep_sha256"
_UNSEALED = b"0" * _DIGITS
# Parquet's metadata are Thrift's: between key and value stand one byte of type and one of length.
_TO_VALUE = len(_TABLE_KEY) + 2

TABLE_SEAL: Mapping[bytes, bytes] = {_TABLE_KEY: _UNSEALED}


def sealed_json(plain: Mapping[str, Any]) -> bytes:
    """A JSON object with its checksum as the last key.

    Args:
        plain: what JSON can hold, with a key at least; of a record, `schema.normalized`.
    """
    body = json.dumps(plain).encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    return body[:-1] + _BEGIN + digest + _END


def json_of_sealed(data: bytes, where: str) -> dict[str, Any]:
    """The object in what `sealed_json` has made.

    Args:
        data: the whole file.
        where: the file, for messages.

    Raises:
        StoreError: it is damaged.
    """
    seal = data[-_SEAL_LENGTH:]
    if not (seal.startswith(_BEGIN) and seal.endswith(_END)):
        raise bad_record("it has no checksum", where)
    body = data[:-_SEAL_LENGTH] + b"}"
    if hashlib.sha256(body).hexdigest().encode() != seal[len(_BEGIN) : -len(_END)]:
        raise bad_record("its checksum differs from the one written with it", where)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad_record(f"no sound JSON: {error}", where) from error
    if not isinstance(found, dict):
        raise bad_record("it is no object", where)
    return found


def record_from_bytes(data: bytes, trial_id: str, where: str) -> Record:
    """The record in a file.

    Args:
        data: the whole file.
        trial_id: the trial that the file is named after.
        where: the file, for messages.

    Raises:
        StoreError: the file is damaged, or of another trial, or from a newer clsweep.
    """
    body = data
    seal = data[-_SEAL_LENGTH:]
    if seal.startswith(_BEGIN) and seal.endswith(_END):
        body = data[:-_SEAL_LENGTH] + b"}"
        if hashlib.sha256(body).hexdigest().encode() != seal[len(_BEGIN) : -len(_END)]:
            raise bad_record("its checksum differs from the one written with it", where)
    try:
        record: Record = json.loads(body.decode())
        # Half of a pair of surrogates is JSON, and no text.
        if rb"\ud" in body or rb"\uD" in body:
            json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise bad_record(f"no sound JSON: {error}", where) from error
    check_record(record, where)
    if record["trial"]["trial_id"] != trial_id:
        raise bad_record(f"it is of trial {record['trial']['trial_id']}", where)
    return record


def sealed_table(data: bytes) -> bytes:
    """A Parquet file with its checksum filled in.

    Args:
        data: a file whose metadata hold `TABLE_SEAL`.
    """
    at = data.rindex(_TABLE_KEY) + _TO_VALUE
    assert data[at : at + _DIGITS] == _UNSEALED, "Parquet's metadata are not where they should be"
    return data[:at] + _digest_around(data, at) + data[at + _DIGITS :]


def broken_seal(data: bytes) -> str:
    """What is wrong with a Parquet file's checksum; empty where it fits, or there is none.

    Args:
        data: the whole file.
    """
    at = data.rfind(_TABLE_KEY)
    if at < 0:
        return ""
    at += _TO_VALUE
    if data[at : at + _DIGITS] == _digest_around(data, at):
        return ""
    return "its checksum differs from the one written with it"


def checksum_of(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys.

    Args:
        value: what `json.loads` returns.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_around(data: bytes, at: int) -> bytes:
    view = memoryview(data)
    digest = hashlib.sha256(view[:at])
    digest.update(_UNSEALED)
    digest.update(view[at + _DIGITS :])
    return digest.hexdigest().encode()
