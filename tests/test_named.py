"""What a text names is imported, or an error says in one line why it is not."""

import pytest

from omrl_bench import registry
from omrl_bench.api import Algorithm
from omrl_bench.errors import InputError
from omrl_bench.named import import_named, import_subclass
from omrl_bench.protocols.protocol import load_protocol


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write an importable module under a name of its own."""

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    return write


def test_what_a_text_names():
    assert import_named("omrl_bench.api:Algorithm") is Algorithm


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "it: {name} cannot be imported: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "it: {name} cannot be imported: SystemExit: 3"),
        ("class Thong: pass", "it: unknown name in {name} 'Thing'; did you mean 'Thong'?"),
    ],
)
def test_what_somebodys_module_does_is_said(module, text, message):
    name = module(f"omrl_named_{abs(hash(text))}", text)
    with pytest.raises(InputError) as raised:
        import_named(f"{name}:Thing", "it")
    assert str(raised.value) == message.format(name=name)


def test_a_class_of_another_kind_is_refused():
    with pytest.raises(InputError, match=r"omrl_bench\.api:Setup is not a subclass of omrl_bench\.api\.Algorithm"):
        import_subclass("omrl_bench.api:Setup", Algorithm)


def test_a_protocol_that_is_none_is_refused(monkeypatch):
    found = registry.protocols() | {"wrong": "omrl_bench.api:Setup"}
    monkeypatch.setattr("omrl_bench.protocols.protocol.protocols", lambda: found)
    with pytest.raises(InputError, match=r"protocol 'wrong': omrl_bench\.api:Setup is not a subclass of .*Protocol"):
        load_protocol("wrong")
