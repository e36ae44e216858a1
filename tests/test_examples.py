"""Every example runs, at toy size, as a user would run it."""

import re
import sys


def test_the_blogs_script_trains_with_its_own_layers(run):
    done = run(
        sys.executable,
        "-m",
        "fastvae.examples.blog_vae",
        "--iterations",
        1500,
        "--batch-size",
        8,
        "--filters",
        2,
        "--hidden",
        8,
    )
    assert done.returncode == 0, done.stderr
    first, last = map(float, re.search(r"ELBO per image: (\S+) over .*?, (\S+) over", done.stdout).groups())
    assert last > first
