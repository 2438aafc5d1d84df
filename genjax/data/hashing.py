"""One way to fingerprint."""

import hashlib


def digest(*parts: bytes | str) -> str:
    """16 hex digits of the parts; where one ends and the next begins counts."""
    total = hashlib.sha256()
    for part in parts:
        part = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()[:16]
