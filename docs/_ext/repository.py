"""Pages whose text lies elsewhere in the repository: architecture, contributing, changes, tables of benchmarks."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
TABLES = sorted(pathlib.Path(__file__).parents[1].glob("performance/tables/*.md"))
PAGES = {
    "internals/architecture": "fastvae/ARCHITECTURE.md",
    "internals/contributing": "CONTRIBUTING.md",
    "release-notes": "CHANGELOG.md",
}
PAGES.update({f"performance/tables/{file.stem}": f"bench/results/{file.name}" for file in TABLES})
BY_FILE = {file: page for page, file in PAGES.items()}


def read(app, docname, content):
    """Put a file's text into the page that stands for it, with links between such files as links between pages."""
    if docname not in PAGES:
        return
    file = ROOT / PAGES[docname]
    app.env.note_dependency(str(file))

    def link(match):
        target = (file.parent / match[1]).resolve().relative_to(ROOT).as_posix()
        if target.startswith("docs/"):
            return f"](/{target.removeprefix('docs/')})"
        return f"](/{BY_FILE[target]}.md)" if target in BY_FILE else match[0]

    content[0] += re.sub(r"\]\(([\w./-]+\.md)\)", link, file.read_text(encoding="utf-8"))


def setup(app):
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
