"""One hash for the samples that a result was made from."""

from __future__ import annotations

import hashlib

from tfq_ext.samples.spec import Sample


class Digest:
    """sha256 over signature, names, dtypes, shapes and bytes, in order; keys and labels excluded.

    Use it inside a pass that is made anyway: `digest.add(sample)` for each, then `hexdigest()`.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"tfq_ext samples 1\n")

    def add(self, sample: Sample) -> None:
        """Take one checked sample in."""
        self._hash.update(f"sample {sample.signature}\n".encode())
        for name in sorted(sample.inputs):
            array = sample.inputs[name]
            text = array.dtype.kind in "OT"
            little = array if text else array.astype(array.dtype.newbyteorder("<"), copy=False)
            kind = "text" if text else little.dtype.str
            body = repr(array.tolist()).encode() if text else little.tobytes()
            self._hash.update(f"{name} {kind} {array.shape} {len(body)}\n".encode())
            self._hash.update(body)

    def hexdigest(self) -> str:
        """The hash of what was added so far: 64 hexadecimal digits."""
        return self._hash.hexdigest()
