"""The reference, written from the package: a page for every public name, one for every command, an index of both."""

import importlib
import inspect
import pathlib
import types

import fastvae
from fastvae.cli import parser

# Public beside what `fastvae.__all__` names, and the modules whose docstrings others refer to.
MORE_MODULES = {
    "optimizers": "fastvae.optimizers",
    "errors": "fastvae.errors",
    "parts": "fastvae.training.parts",
}
BACKGROUND = (
    *("fastvae.elbo", "fastvae.elbo.objective", "fastvae.elbo.closed_form", "fastvae.elbo.rowwise"),
    *("fastvae.datasets.validation", "fastvae.datasets.rows", "fastvae.minibatch.pipelines"),
    *("fastvae.nn.activations", "fastvae.nn.initializers", "fastvae.distributions", "fastvae.models.exporting"),
    *("fastvae.training.held_out", "fastvae.checkpoint.description", "fastvae.evaluation.importance"),
    *("fastvae.backends", "fastvae.backends.abstract.discretized_logistic"),
)
# In modules without `__all__`, what they take from each other.
INTERNAL = {"figure_of", "not_trainable", "activated", "find_library", "version_of", "ask", "Finding"}


def members(module):
    """Public names of a module but for modules, in its order."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not isinstance(getattr(module, name), types.ModuleType)]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name not in INTERNAL
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__.startswith(module.__name__)
    ]


def sections():
    """(module's name, names of its members) of everything public; the package itself comes first."""
    values = {name: getattr(fastvae, name) for name in fastvae.__all__}
    plain = [name for name, value in values.items() if not isinstance(value, types.ModuleType)]
    modules = [value.__name__ for value in values.values() if isinstance(value, types.ModuleType)]
    yield "fastvae", plain
    for name in [*modules, *MORE_MODULES.values()]:
        yield name, members(importlib.import_module(name))


def summary(value):
    """The first paragraph of a docstring."""
    described = inspect.isclass(value) or inspect.isroutine(value)
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()) if described else "Data."


def titled(title, *lines):
    return "\n".join([f"``{title}``", "=" * (len(title) + 4), "", *lines, ""])


def page(module, name):
    """The page of a function, a class or data."""
    value, path = getattr(importlib.import_module(module), name), f"{module}.{name}"
    if inspect.isclass(value):
        inherited = next(base.__name__ for base in (tuple, BaseException, object) if issubclass(value, base))
        return titled(path, f".. autoclass:: {path}", "   :members:", f"   :inherited-members: {inherited}")
    return titled(path, f".. {'autofunction' if callable(value) else 'autodata'}:: {path}")


def table(module, names):
    """A table of links to the pages of a module's members, and the hidden list that Sphinx's side bar is made of."""
    of_module = importlib.import_module(module)
    rows = []
    for name in names:
        rows += [f"   * - :py:obj:`{name} <{module}.{name}>`", f"     - {summary(getattr(of_module, name))}"]
    return [
        *[".. list-table::", "   :widths: 30 70", "", *rows, ""],
        *[".. toctree::", "   :hidden:", "   :maxdepth: 1", "", *[f"   {module}.{name}" for name in names], ""],
    ]


def module_page(module, names):
    lines = [] if module == "fastvae" else [f".. automodule:: {module}", "", "Members", "-------", ""]
    return titled(module, *lines, *table(module, names))


def commands():
    """The help of every command, as the command line prints it."""
    made = parser.make()
    (subparsers,) = (action for action in made._actions if isinstance(action.choices, dict))
    lines = ["Command line", "============", ""]
    for name, command in {"": made, **subparsers.choices}.items():
        title = f"fastvae {name}".strip()
        text = command.format_help().splitlines()
        lines += [f"``{title}``", "-" * (len(title) + 4), "", ".. code-block:: text", ""]
        lines += [*(f"   {line}" if line else "" for line in text), ""]
    return "\n".join(lines)


def pages():
    """Text of every generated page by its name."""
    yield "commands", commands()
    for module, names in sections():
        yield module, module_page(module, names)
        for name in names:
            yield f"{module}.{name}", page(module, name)
    for module in BACKGROUND:
        yield module, titled(module, f".. automodule:: {module}")


def write(app):
    folder = pathlib.Path(app.srcdir, "reference", "generated")
    folder.mkdir(parents=True, exist_ok=True)
    made = {folder / f"{name}.rst": text for name, text in pages()}
    for file in set(folder.glob("*.rst")) - made.keys():
        file.unlink()
    for file, text in made.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
