"""Run the quick tests with the oldest TensorFlow that pyproject.toml allows.

    python tools/test_oldest.py                              into a temporary environment
    python tools/test_oldest.py --python python3.12 -- tests/emit -x
    python tools/test_oldest.py --tensorflow 2.20.0          any other version
    python tools/test_oldest.py --venv /tmp/oldest           keep the environment for another run

What stands after `--` goes to pytest (default: every test that is not slow). The exit code is
pytest's. That TensorFlow also brings the oldest numpy that we allow.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def lower_bound(package: str, extra: str) -> str:
    """The version after `package>=` in an extra of pyproject.toml.

    Raises:
        LookupError: the extra has no such requirement.
    """
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for requirement in table["project"]["optional-dependencies"][extra]:
        if match := re.match(rf"{re.escape(package)}>=([0-9.]+)", requirement):
            return match[1]
    raise LookupError(f"pyproject.toml: the extra {extra!r} has no lower bound for {package}.")


def pins(tensorflow: str) -> list[str]:
    """Requirements for this TensorFlow and the tf_keras that goes with it (same minor version)."""
    minor = ".".join(tensorflow.split(".")[:2])
    return [f"tensorflow=={tensorflow}", f"tf_keras=={minor}.*"]


def install(folder: Path, python: str, tensorflow: str) -> Path:
    """An environment with the package and its [test] extra; returns its python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    inside = folder / "bin" / "python"
    command = [str(inside), "-m", "pip", "install", "-q", "-e", f"{ROOT}[test]", *pins(tensorflow)]
    subprocess.run(command, check=True)
    return inside


def main(arguments: list[str] | None = None) -> int:
    """Install, say what was installed, test."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    cut = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tensorflow", default=lower_bound("tensorflow", "tensorflow"))
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment")
    parser.add_argument("--venv", type=Path, help="keep the environment in this folder")
    options = parser.parse_args(given[:cut])
    with tempfile.TemporaryDirectory(prefix="tfq_oldest_") as folder:
        try:
            python = install(options.venv or Path(folder), options.python, options.tensorflow)
        except subprocess.CalledProcessError as error:
            print(f"{error.cmd}: exit code {error.returncode}", file=sys.stderr)
            return 2
        show = "import sys, numpy, keras, tensorflow as tf; print('Python', sys.version.split()[0])"
        show += "; [print(m.__name__, m.__version__) for m in (numpy, keras, tf)]"
        subprocess.run([str(python), "-c", show], cwd=ROOT, check=False)
        words = given[cut + 1 :]
        tests = subprocess.run(
            [str(python), "-m", "pytest", "-m", "not slow", *words], cwd=ROOT, check=False
        )
    return tests.returncode


if __name__ == "__main__":
    sys.exit(main())
