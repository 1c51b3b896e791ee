"""README and CONTRIBUTING tell the truth: the example runs, and what they name is there."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.source_tree import ROOT, modules

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "tests/measurements/README.md")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_example_fits_its_picture():
    """README's building blocks: a head drawn, a loss differentiated by expression and camera, fitted with Optax."""
    blocks = re.findall(r"```python\n(.*?)```", text_of("README.md"), flags=re.DOTALL)
    [code] = [block for block in blocks if "optax" in block]
    assert len(code.splitlines()) <= 20
    names = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102
    start = jnp.mean((names["draw"]({"angles": jnp.zeros(3), "expression": jnp.zeros(52)}) - names["photo"]) ** 2)
    assert float(names["loss"]) < 0.2 * float(start)
    np.testing.assert_allclose(names["face"]["angles"], [0.2, 0.1, 0.0], atol=0.05)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_named_is_there(document):
    text = text_of(document)
    folders = re.findall(r"`((?:fitkit|models|recipes|tests|notebooks)/[\w/.]*\w)`", text)
    assert not [path for path in folders if not (ROOT / path).exists()]
    scripts = re.findall(r"python -m ((?:fitkit|tests)[\w.]+)", text)
    scripts = [name for name in scripts if name not in modules() and not name.endswith(".NAME")]
    missing = [name for name in scripts if not (ROOT / f"{name.replace('.', '/')}.py").exists()]
    assert not missing, f"{document}: no module {missing}"
    tests = re.findall(r"(tests/[\w/]+\.py)", text)
    assert not [path for path in tests if not (ROOT / path).exists()]
