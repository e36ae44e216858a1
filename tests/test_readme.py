"""Every command and every piece of Python in the README runs. (`.ci/run` runs those that install.)"""

import pathlib
import re
import shlex
import sys

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = ("--model", "mlp", "--iterations", 2, "--batch-size", 4, "--out", "RUN")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.S | re.M)


def test_the_python_runs_as_one_script(python):
    script = "\n".join(blocks("python"))
    assert script.count("1_000") == 2
    done = python(script.replace("1_000", "2"), FASTVAE_PROFILE="cpu", timeout=600)
    assert done.returncode == 0, done.stderr


def test_the_commands_run(run):
    fastvae = (sys.executable, "-m", "fastvae")
    assert run(*fastvae, "train", *TINY).returncode == 0
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("fastvae ")]
    assert [line.split()[1] for line in lines] == ["evaluate", "plot", "report", "train", "bench", "train"]
    for arguments in dict.fromkeys(tuple(shlex.split(line, comments=True)[1:]) for line in lines):
        if arguments == ("bench",):  # two minutes; tests/cli/test_bench.py runs it at toy size
            continue
        done = run(*fastvae, *arguments)
        assert done.returncode == 0, (arguments, done.stderr)


def test_the_two_commands_that_install_are_one_line_each():
    for name in ("train", "test"):
        (command,) = re.findall(rf"<!-- {name} -->\n```sh\n(.*)\n```", README)
        assert "\n" not in command and "pip install" in command


def test_the_commands_of_uv_install_and_run_the_same():
    marked = dict(re.findall(r"<!-- ([\w-]+) -->\n```sh\n(.*?)\n```", README, flags=re.S))
    for name, uv in (("train", "uv"), ("test", "uv-test")):
        rest = marked[name].partition("pip install ")[2]
        assert marked[uv].endswith(f"tools/bin/uv pip install --python venv {rest}")


def test_it_is_short_enough_to_read():
    assert len(README.splitlines()) <= 150


def test_its_links_and_pictures_are_there():
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert len(links) > 25
    assert [link for link in links if not (ROOT / link).is_file()] == []


def table(text, head):
    """The rows under a table's head, without what makes links of their words."""
    (rows,) = re.findall(rf"^{re.escape(head)}\n\|[-|]+\n((?:\|.*\n)+)", text, flags=re.M)
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", rows)


def test_the_site_says_the_same():
    pages = {"tutorials/migrate": "| | `pm.fit` | fastvae |", "how-to/profiles": "| profile | device |"}
    for page, head in pages.items():
        assert table(README, head) == table((ROOT / f"docs/{page}.md").read_text(encoding="utf-8"), head)
    figure = r"\*\*[\d.]+ times|\d+ ms|within \d\S+ after|batch \d+|PyTorch [\d.]+|\d{4}-\d\d-\d\d"
    performance = (ROOT / "docs/performance/index.md").read_text(encoding="utf-8")
    claims = [re.findall(figure, " ".join(text.split())) for text in (README.partition("On a fresh")[0], performance)]
    assert sorted(claims[0]) == sorted(claims[1]) and len(claims[0]) == 8


def test_commands_named_in_the_text_exist(run):
    for verb in set(re.findall(r"`fastvae ([\w-]+)", README)):
        assert run(sys.executable, "-m", "fastvae", verb, "--help").returncode == 0, verb
