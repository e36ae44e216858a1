"""The command line as a user meets it: real processes, real exit statuses."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastvae import checkpoint
from tests.datasets.test_datasets import MALFORMED

CLI = (sys.executable, "-m", "fastvae")
TINY = ("--model", "mlp", "--iterations", 5, "--batch-size", 4)
NORMALISED = (*TINY, "--normalization", "batch", "--activation", "elu")


@pytest.fixture
def cli(run):
    return lambda *arguments, **options: run(*CLI, *arguments, **options)


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x_train=rng.random((20, 6, 6)), x_test=rng.random((12, 6, 6)), y_test=np.arange(12) % 3)
    return path


VECTORS = "; vector instructions: AVX"  # and which


@pytest.mark.parametrize("arguments", [["--help"], ["profiles"], ["profiles", "show", "cuda"], ["train", "--seed"]])
def test_answers_without_the_stack_come_at_once(cli, arguments):
    cli(*arguments)  # Python's own compilation of the modules
    started = time.monotonic()
    cli(*arguments)
    assert time.monotonic() - started < 1


def test_train_evaluate_plot_and_a_run_in_parts_is_the_run_in_one_go(cli, images, tmp_path):
    out = tmp_path / "run"
    watched = ("--held-out-every", 2, "--log-dir", tmp_path / "events", "-v")
    done = cli("train", "--data", images, *NORMALISED, *watched, "--out", out, FASTVAE_PROFILE="cpu")
    assert done.returncode == 0, done.stderr
    written = f"report: {out / 'report.html'}\nrun written to {out}\n"
    for said in ("20 images of 1x6x6", "MLPVAE", "profile: cpu; BLAS: OpenBLAS", VECTORS, written):
        assert said in done.stdout
    assert "threads: " in done.stderr and "5/5" in done.stderr and "held-out ELBO/image" in done.stderr
    assert "\ntraining took " in done.stderr and os.listdir(tmp_path / "events")
    (session,) = json.loads((out / "sessions.json").read_text())
    assert session["steps"] == [0, 5] and session["ended_by"] == "steps" and session["profile"] == "cpu"
    assert session["machine"]["threads"] == str(session["threads"])
    assert [*session["seconds"]] == ["starting", "building and compiling", "training", "pictures"]

    config = json.loads((out / "config.json").read_text())
    assert (config["model"], config["iterations"], config["batch_size"]) == ("mlp", 5, 4)
    with open(out / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    assert len(history) == 5 and [bool(row["held_out_elbo_per_image"]) for row in history] == [0, 1, 0, 1, 0]
    assert float(history[0]["elbo_per_image"]) == pytest.approx(-float(history[0]["loss"]) / 4)
    pictures = {"loss_curve", "latent_grid", "latent_means", "reconstructions", "model_graph"}
    assert {path.stem for path in out.glob("*.png")} == pictures

    done = cli("evaluate", out)
    assert done.returncode == 0 and "12 held-out images: reconstruction mean squared error" in done.stdout
    number = r"-?\d+\.\d+"
    for said in ("ELBO .10 samples.", "log p.x. .50 importance samples."):
        said = rf"^{said}: {number} ± {number} nats per image, {number} ± {number} bits per dimension "
        assert re.search(said, done.stdout, flags=re.M), done.stdout
    assert "active units: " in done.stdout and "density of pixels in [0, 1]" in done.stdout

    (out / "latent_grid.png").unlink()
    assert cli("plot", out).returncode == 0
    assert (out / "latent_grid.png").is_file()

    quiet = cli("train", "--data", images, *NORMALISED, *watched[:2], "--iterations", 3, "--out", "parts", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    damaged = tmp_path / "parts" / "checkpoint-00000003.ckpt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = cli("train", "--resume", "parts", "--iterations", 5)
    assert done.returncode == 0 and "its checksum is wrong" in done.stderr and "resuming after step 0" in done.stderr
    assert json.loads((tmp_path / "parts" / "config.json").read_text())["iterations"] == 5
    assert (tmp_path / "parts" / "latent_grid.png").is_file()
    for name in ("vae.npz", "history.csv"):
        assert (out / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()

    done = cli("report", out, "parts", "--out", "both.html")
    assert done.returncode == 0 and done.stdout == "report: both.html\n"
    page = (tmp_path / "both.html").read_text()
    assert "fastvae train --data" in page and f"fastvae train --resume {out} --iterations 10" in page
    assert "run against parts" in re.sub("<[^>]+>", "", page) and "[4," in page  # a held-out ELBO after step 4
    done = cli("report", *["parts"] * 5)
    assert done.returncode == 2 and "5 runs are too many for a page: give 4 at most" in done.stderr


def test_likelihood_posterior_and_objective_are_the_runs_and_data_without_a_test_split_is_evaluated(cli, tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((9, 5, 5)))
    options = ("--likelihood", "bernoulli", "--posterior", "full-covariance", "--objective", "iwae", "--n-samples", 3)
    assert cli("train", "--data", "images.npy", *TINY, *options, "--out", "run").returncode == 0
    assert cli("train", "--resume", "run", "--iterations", 7).returncode == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    kept = ["bernoulli", "full-covariance", "iwae", 3]
    assert [config[name] for name in ("likelihood", "posterior", "objective", "n_samples")] == kept
    assert checkpoint.newest(tmp_path / "run")["step"] == 7
    with np.load(tmp_path / "run" / "vae.npz") as file:
        assert any("bernoulli" in str(file[name]) and "full-covariance" in str(file[name]) for name in file.files)
    done = cli("evaluate", "run", "--samples", 3)
    assert done.returncode == 0 and "log p(x) (3 importance samples)" in done.stdout
    assert "density of pixels" not in done.stdout  # these are probabilities
    assert "no test images: using the training images" in done.stderr and "9 training images" in done.stdout


@pytest.fixture
def endless(clean_environ, images, tmp_path):
    """Start a training that has shown its first line of progress, and return it with what it said until then."""
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [*CLI, "train", *arguments, "--iterations", "100000000"],
            cwd=tmp_path,
            env=clean_environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        said = []
        for line in process.stderr:
            said.append(line)
            if "it/s" in line:
                return process, "".join(said)
        raise AssertionError("the training ended by itself")

    yield start
    for process in processes:
        process.kill()


def test_a_signal_ends_with_everything_written_and_the_run_is_resumed(endless, images, tmp_path):
    def end(process, number):
        """Send the signal, and return the steps that the run has then taken."""
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 128 + number, err
        assert "Traceback" not in err
        done = re.search(rf"fastvae: {number.name} after ([\d,]+) of 100,000,000 iterations", err)[1].replace(",", "")
        written = set(os.listdir(tmp_path / "run"))
        assert {"config.json", "vae.npz", "history.csv", f"checkpoint-{int(done):08d}.ckpt"} <= written
        assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 1 + int(done)
        return int(done)

    process, _ = endless("--data", images, "--model", "mlp", "--out", "run")
    done = end(process, signal.SIGINT)
    process, said = endless("--resume", "run")
    assert f"resuming after step {done:,}" in said and "Traceback" not in said
    assert end(process, signal.SIGTERM) > done


def test_a_loss_that_is_not_finite_exits_with_3_and_the_last_good_state_loads(cli, images, tmp_path):
    done = cli("train", "--data", images, *TINY, "--learning-rate", 1e30, "--checkpoint-every", 1, "--out", "run")
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert re.search("became (nan|inf) at step 2; the first that is not finite is 'encoder.dense1.weight'", last), last
    assert "the last good state is in run/checkpoint-00000001.ckpt" in last and "Traceback" not in done.stderr
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 2
    state = checkpoint.newest(tmp_path / "run")
    assert state["step"] == 1 and all(np.isfinite(entry["value"]).all() for entry in state["variables"])


FULL = """
import resource, sys
sys.argv = ["fastvae", *sys.argv[1:]]
from fastvae import cli, interrupts
real = interrupts.after_the_step

def full():  # from the first checkpoint on; before that theano may compile
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    return real()

interrupts.after_the_step = full
sys.exit(cli.main())
"""


def test_a_full_disk_is_one_line_and_status_2(run, images, tmp_path):
    done = run(sys.executable, "-c", FULL, "train", "--data", images, *TINY, "--out", "run")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "error: run/checkpoint-00000000.ckpt: cannot be written (File too large)" in last
    assert not (tmp_path / "run").exists()


def test_a_closed_pipe_is_no_error(clean_environ, tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m fastvae devices | true",
        shell=True,
        cwd=tmp_path,
        env=clean_environ,
        text=True,
        capture_output=True,
    )
    assert done.stderr == ""


# Malformed arguments: what is wrong, how to make it, environment, and the message. With the malformed data files
# of test_datasets, each message of the command line is met at least once and at most three times.
def folder_with(**files):
    def make(path):
        run = path / "damaged"
        run.mkdir()
        for name, content in files.items():
            (run / name.replace("_", ".")).write_text(content)
        return run

    return make


CONFIG = json.dumps(
    dict(
        data="fashion-mnist-sample",
        model="mlp",
        likelihood="normal",
        posterior="mean-field",
        objective="elbo",
        kl="monte-carlo",
        n_samples=1,
        iterations=1,
        batch_size=1,
        learning_rate=0.1,
        latent=2,
        seed=1,
        checkpoint_every=1,
    )
)
THEANORC = {"THEANORC": "no.theanorc"}
ARGUMENTS = {
    "no command": ([], {}, "arguments are required"),
    "unknown command": (["trian"], {}, "invalid choice: 'trian'"),
    "unknown option": (["train", "--epochs", "3"], {}, "unrecognized arguments"),
    "option without value": (["train", "--data"], {}, "expected one argument"),
    "unknown model": (["train", "--model", "vgg"], {}, "invalid choice: 'vgg'"),
    "no iterations": (["train", "--iterations", "0"], {}, "--iterations: '0' is not a whole number of at least 1"),
    "batch of text": (["train", "--batch-size", "many"], {}, "'many' is not a whole number of at least 1"),
    "half a latent": (["train", "--latent", "1.5"], {}, "'1.5' is not a whole number of at least 1"),
    "rate of 0": (["train", "--learning-rate", "0"], {}, "'0' is not a number above 0"),
    "rate of nan": (["train", "--learning-rate", "nan"], {}, "'nan' is not a number above 0"),
    "negative seed": (["train", "--seed", "-1"], {}, "'-1' is not a whole number from 0"),
    "huge seed": (["train", "--seed", str(2**32)], {}, "is not a whole number from 0 to 4294967295"),
    "absurd threads": (["train", "--threads", "100000"], {}, "--threads=100000 is not a number of threads: give"),
    "splits of two shapes": (
        ["train", "--data", "shapes.npz"],
        {},
        "test images are .1, 5, 5., but the model's .1, 4, 4.",
    ),
    "threads of text": (["train"], {"OMP_NUM_THREADS": "all"}, "OMP_NUM_THREADS='all' is not a number of threads"),
    "unknown profile": (["train", "--profile", "cup"], {}, "'cup' is unknown .did you mean 'cpu'"),
    "empty part of a profile": (["train", "--profile", "cpu:"], {}, "'' is unknown; admissible are auto, avx2, cpu"),
    "two devices": (["train", "--profile", "cpu:opencl"], {}, "names 2 devices"),
    "profile to show": (["profiles", "show", "gpu"], {}, "profile 'gpu': 'gpu' is unknown"),
    "no cuda": (["train"], {"FASTVAE_PROFILE": "cuda"}, "profile 'cuda' is not available .*CUDA driver: .*install"),
    "float64": (["train"], {"flags": "floatX=float64"}, "floatX=float64 .from THEANO_FLAGS"),
    "no such device": (["train"], {"flags": "device=gpu"}, "device='gpu' .from THEANO_FLAGS. is not a device"),
    "no such theanorc": (["train"], THEANORC, "no.theanorc"),
    "folder in use": (["train", "--out", folder_with(a="")], {}, "is not empty; give --out a new folder"),
    "file as folder": (["train", "--out", lambda path: sys.executable], {}, "cannot write to run folder"),
    "resume nothing": (["train", "--resume", "nowhere"], {}, "'nowhere' is not a run folder"),
    "resume another model": (["train", "--resume", "a", "--latent", "3"], {}, "--latent cannot be given with --resume"),
    "resume elsewhere": (["train", "--resume", "a", "--out", "b"], {}, "--out cannot be given with --resume"),
    "resume and shorten": (
        ["train", "--iterations", "1", "--resume", folder_with(config_json=CONFIG, **{"checkpoint-00000002_ckpt": ""})],
        {},
        "--iterations 1 counts those of the whole run, which has 2",
    ),
    "resume what is damaged": (
        ["train", "--resume", folder_with(config_json=CONFIG, **{"checkpoint-00000001_ckpt": ""})],
        {},
        "none of its 1 checkpoints is whole: begin again",
    ),
    "talkative and quiet": (["-v", "train", "--quiet"], {}, "-v and --quiet were given together"),
    "report in no folder": (
        ["report", folder_with(config_json=CONFIG, vae_npz="x"), "--out", "no/report.html"],
        {},
        "'no/report.html' is not a file in an existing folder",
    ),
    "no samples": (["evaluate", "run", "--samples", "0"], {}, "--samples: '0' is not a whole number of at least 1"),
    "no run": (["evaluate", "nowhere"], {}, "'nowhere' is not a run folder"),
    "damaged configuration": (["plot", folder_with(config_json="{")], {}, "is not JSON"),
    "configuration of others": (["plot", folder_with(config_json="{}")], {}, "lacks a valid 'data'"),
    "run that did not end": (["evaluate", folder_with(config_json=CONFIG)], {}, "holds no vae.npz"),
    "damaged network": (["evaluate", folder_with(config_json=CONFIG, vae_npz="x")], {}, "vae.npz"),
    "images too small": (["train", "--data", "small.npy"], {}, r"ConvVAE|Conv2D"),
}


def one_line(done, message):
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    notice = "^fastvae: profile auto|; trying the checkpoint before it$"
    lines = [line for line in done.stderr.splitlines() if not re.search(notice, line)]
    assert len(lines) == 1 and lines[0].startswith("fastvae: error: "), done.stderr
    assert re.search(message, lines[0]), lines[0]


@pytest.mark.parametrize("arguments, environ, message", ARGUMENTS.values(), ids=ARGUMENTS)
def test_malformed_arguments_are_one_line_and_status_2(cli, tmp_path, arguments, environ, message):
    np.save(tmp_path / "small.npy", np.zeros((3, 4, 4)))
    np.savez(tmp_path / "shapes.npz", x_train=np.zeros((3, 4, 4)), x_test=np.zeros((3, 5, 5)))
    arguments = [argument(tmp_path) if callable(argument) else argument for argument in arguments]
    one_line(cli(*arguments, **environ), message)
    assert not list(tmp_path.glob("runs/*"))


DATA = {
    name: (make, message)
    for name, (make, options, message) in MALFORMED.items()
    if not options and name != "name of wrong type"
}


@pytest.mark.parametrize("make, message", DATA.values(), ids=DATA)
def test_malformed_data_is_one_line_and_status_2(cli, tmp_path, make, message):
    one_line(cli("train", "--data", make(tmp_path)), message)


def test_there_are_sixty_of_them():
    assert len(ARGUMENTS) + len(DATA) >= 60
