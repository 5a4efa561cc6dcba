"""The names that users type: what there is, how it is called, what it costs to import, how it is documented."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import wellposed as wp

SIGNATURES = {
    "check": "model, loss=None, train=None, *, validation=None, optimizer=None, precision=None, select=None, "
    "ignore=(), limits=None, seed=0, progress=None, isolate=False, budget='normal'",
    "fix": "model, loss=None, train=None, *, validation=None, optimizer=None, in_place=False, seed=0, progress=None",
    "race": "before, after, *, steps=200, seeds=5, progress=None, isolate=False",
    "measure_signals": "model, loss=None, train=None, *, optimizer=None, seed=0, isolate=False",
    "initialize": "model, inputs=None, *, scheme='auto', seed=0, loss=None, targets=None, gain=None, mode='fan_in'",
    "numerical_gradient": "f, x, *, method='auto', step=None, precision='auto', bounds=None",
    "check_gradients": "f, *inputs, gradient=None, mode='reverse', order=1, resolution=0.01, replay='auto', seed=0, isolate=False",
    "gain": "activation",
    "explain": "key",
}
NAMES = {
    *SIGNATURES, "Problem", "Report", "Finding", "Severity", "Limits", "Normalizer", "Moments", "SignalProfile",
    "GradientCheck", "WellposedError",
}  # fmt: skip


def names_loaded_by(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def parameters_of(function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))[1:-1]


def test_the_public_names_are_those_of_the_design() -> None:
    assert set(wp.__all__) == NAMES
    assert len(wp.__all__) == len(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_leads_to_what_it_names(name: str) -> None:
    assert getattr(wp, name).__name__ == name


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_is_called_as_designed(name: str) -> None:
    assert parameters_of(getattr(wp, name)) == SIGNATURES[name]


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_says_what_it_takes_and_gives_and_shows_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(wp, name)) or ""
    for heading in ("Parameters\n---", "Returns\n---", "Examples\n---"):
        assert heading in text, f"{name} has no section {heading.split()[0]}"
    assert ">>> " in text


@pytest.mark.parametrize("name", SIGNATURES)
def test_every_parameter_is_described(name: str) -> None:
    text = inspect.getdoc(getattr(wp, name)) or ""
    section = text.split("Parameters\n---", 1)[-1].split("Returns\n---", 1)[0]
    described = {
        word.strip(" *") for line in section.splitlines() for word in line.split(",") if line[:1] != " "
    }
    missing = set(inspect.signature(getattr(wp, name)).parameters) - described
    assert not missing


def test_importing_it_loads_no_framework_and_nothing_that_shows() -> None:
    loaded = names_loaded_by("import wellposed")
    assert not loaded & {"torch", "jax", "numpy", "rich", "click", "numba", "msgspec"}


@pytest.mark.parametrize("name", ["Problem", "Report", "Limits", "WellposedError", "explain"])
def test_a_plain_value_loads_no_framework(name: str) -> None:
    assert not names_loaded_by(f"import wellposed\nwellposed.{name}") & {"torch", "jax", "rich"}


def test_no_name_is_hidden_by_a_module_that_is_imported_later() -> None:
    program = "import wellposed as wp; " + "".join(f"wp.{n}; " for n in sorted(NAMES))
    program += "".join(f"assert callable(wp.{n}), {n!r}; " for n in sorted(NAMES))
    assert "wellposed" in names_loaded_by(program)


def test_dir_lists_the_public_names_and_the_version() -> None:
    assert set(dir(wp)) == {*NAMES, "__version__"}


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'wellposed' has no attribute 'normalise'"):
        wp.normalise  # type: ignore[attr-defined]  # noqa: B018
