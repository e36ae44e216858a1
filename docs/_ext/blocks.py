"""Indented blocks of docstrings, which are formulas and tables in columns, stay as they are typed."""


def indentation(line):
    return len(line) - len(line.lstrip())


def process(app, what, name, obj, options, lines):
    """Make each block that is indented under a paragraph, behind an empty line, a literal one."""
    kept = [(i, line) for i, line in enumerate(lines) if line.strip()]
    blocks = [
        (i, indentation(line))
        for (before, line), (i, block) in zip(kept, kept[1:])
        if i > before + 1
        and indentation(block) >= indentation(line) + 4
        and not line.endswith("::")
        and not line.lstrip().startswith((">>>", ".."))
    ]
    for i, margin in reversed(blocks):
        lines[i:i] = [" " * margin + ".. code-block:: text", ""]


def setup(app):
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
