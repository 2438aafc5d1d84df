"""sample.py before it names a model."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_a_reader_that_has_seen_enough_is_no_error():
    shown = subprocess.Popen([sys.executable, "sample.py", "--help"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    shown.stdout.close()
    assert (shown.stderr.read(), shown.wait()) == (b"", 141)
