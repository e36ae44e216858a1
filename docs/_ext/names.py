"""The role of `text` between single backticks in docstrings: a reference if it is a name of fastvae, else code."""

import re

from docutils import nodes
from sphinx.roles import XRefRole

REFERENCE = re.compile(r"fastvae(\.\w+)+$")
reference = XRefRole(innernodeclass=nodes.literal)


def name(role, rawtext, text, lineno, inliner, options=None, content=()):
    if REFERENCE.fullmatch(text):
        return reference("py:obj", rawtext, text, lineno, inliner, options or {}, content)
    return [nodes.literal(rawtext, nodes.unescape(text), classes=["name"])], []


def setup(app):
    app.add_role("name", name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
