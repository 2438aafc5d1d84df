"""Pages that show code show what the files hold."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "adding_a_transformer.md": {
        "genjax/models/distilbert.py",
        "genjax/interop/distilbert.py",
        "configs/bert/distilbert_base.py",
        "genjax/interop/huggingface.py",
        "genjax/tasks/masked_lm.py",
    },
    "adding_a_gan.md": {
        "genjax/models/sngan.py",
        "genjax/tasks/gan_networks.py",
        "configs/gan/sngan_fashion_mnist.py",
    },
}


@pytest.mark.parametrize("name", PAGES)
def test_every_passage_stands_in_its_file(name):
    """Every passage of code under a file's name stands in that file, word for word."""
    page = (ROOT / "docs" / name).read_text()
    passages = re.findall(r"^`([\w/.]+)`[^\n]*\n\n```python\n(.*?)```", page, re.S | re.M)
    assert {file for file, _ in passages} >= PAGES[name]
    for file, code in passages:
        text = (ROOT / file).read_text()
        for part in code.split("    ...\n"):
            assert part.strip("\n") in text, f"{name} shows of {file} what it does not hold:\n{part}"
