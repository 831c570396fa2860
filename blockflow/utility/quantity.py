"""Amounts of memory as people write them."""

import re

__all__ = ["format_bytes", "parse_bytes"]

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)}
_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", start=1)}


def parse_bytes(amount: int | str) -> int:
    """Bytes of an amount such as `4 GB` (4 * 1000^3), `512 MiB` (512 * 1024^2) or a plain number of bytes.

    Raises `ValueError` if it is none, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(amount))
    if match is None or match[2].upper() not in _UNITS or not float(match[1]):
        raise ValueError(f"{amount!r} is no amount of memory; write it as 4 GB, 512 MiB or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def format_bytes(amount: float) -> str:
    """An amount of bytes for people, in decimal units: `1.23 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"
