"""One published hand landmark network five times, for tests: float, fp16, weight-quantized, int8,
and a full-int8 file that is broken (scales of 329 and 1216; whatever comes in, zeros come out).

    python tools/fetch_hand_models.py FOLDER

The npm package keeps its .tflite files under another extension. Nothing of it is committed.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@dannadori/hand-pose-detection-worker-js@1.0.22"


def main(folder: Path) -> int:
    """Write every .tflite of the package into a folder; 0 if there were some."""
    folder.mkdir(parents=True, exist_ok=True)
    found = 0
    with tempfile.TemporaryDirectory() as work:
        command = ["npm", "pack", "--silent", PACKAGE]
        done = subprocess.run(command, cwd=work, check=True, capture_output=True, text=True)
        with tarfile.open(Path(work) / done.stdout.split()[-1]) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".bin") else None
                content = file.read() if file is not None else b""
                if content[4:8] == b"TFL3":
                    name = f"hand__{Path(member.name).stem}.tflite"
                    (folder / name).write_bytes(content)
                    found += 1
    print(f"{found} files in {folder}")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
