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

from tests.test_datasets import MALFORMED

CLI = (sys.executable, "-m", "fastvae")
TINY = ("--model", "mlp", "--iterations", 5, "--batch-size", 4)


@pytest.fixture
def cli(run):
    return lambda *arguments, **options: run(*CLI, *arguments, **options)


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x_train=rng.random((20, 6, 6)), x_test=rng.random((12, 6, 6)), y_test=np.arange(12) % 3)
    return path


@pytest.mark.parametrize("arguments", [["--help"], ["profiles"], ["profiles", "show", "cuda"], ["train", "--seed"]])
def test_answers_without_the_stack_come_at_once(cli, arguments):
    cli(*arguments)  # Python's own compilation of the modules
    started = time.monotonic()
    cli(*arguments)
    assert time.monotonic() - started < 1


def test_train_evaluate_plot(cli, images, tmp_path):
    out = tmp_path / "run"
    done = cli("train", "--data", images, *TINY, "--out", out, FASTVAE_PROFILE="cpu")
    assert done.returncode == 0, done.stderr
    for said in ("20 images of 1x6x6", "MLPVAE", "profile: cpu; BLAS: OpenBLAS", "run written to"):
        assert said in done.stdout
    assert "threads: " in done.stderr and "5/5" in done.stderr and "ELBO/image" in done.stderr

    config = json.loads((out / "config.json").read_text())
    assert (config["model"], config["iterations"], config["batch_size"]) == ("mlp", 5, 4)
    with open(out / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    assert len(history) == 5
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


def test_data_without_a_test_split_is_evaluated_on_itself_and_says_so(cli, tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((9, 5, 5)))
    assert cli("train", "--data", "images.npy", *TINY, "--out", "run").returncode == 0
    done = cli("evaluate", "run")
    assert "no test images: using the training images" in done.stderr and "9 training images" in done.stdout


def test_ctrl_c_ends_with_everything_written(clean_environ, images, tmp_path):
    process = subprocess.Popen(
        [*CLI, "train", "--data", str(images), "--model", "mlp", "--iterations", "100000000", "--out", "run"],
        cwd=tmp_path, env=clean_environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    for line in process.stdout:
        if line.startswith("profile"):
            break
    for line in process.stderr:  # the first line of progress
        if "it/s" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "interrupted after" in err and "Traceback" not in err
    assert {"config.json", "vae.npz", "history.csv", "latent_grid.png"} <= set(os.listdir(tmp_path / "run"))


def test_a_loss_that_is_not_finite_keeps_the_history_and_exits_with_3(cli, images, tmp_path):
    done = cli("train", "--data", images, *TINY, "--learning-rate", 1e30, "--out", "run")
    assert done.returncode == 3
    assert "at step" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert (tmp_path / "run" / "history.csv").is_file()


def test_a_closed_pipe_is_no_error(clean_environ, tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m fastvae devices | true", shell=True, cwd=tmp_path, env=clean_environ,
        text=True, capture_output=True,
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
    dict(data="fashion-mnist-sample", model="mlp", iterations=1, batch_size=1, learning_rate=0.1, latent=2, seed=1)
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
    "splits of two shapes": (["train", "--data", "shapes.npz"], {}, "test images are .1, 5, 5., the model's .1, 4, 4."),
    "threads of text": (["train"], {"OMP_NUM_THREADS": "all"}, "OMP_NUM_THREADS='all' is not a number of threads"),
    "unknown profile": (["train", "--profile", "cup"], {}, "'cup' is unknown .did you mean 'cpu'"),
    "empty part of a profile": (["train", "--profile", "cpu:"], {}, "'' is unknown; admissible are auto, cpu"),
    "two devices": (["train", "--profile", "cpu:opencl"], {}, "names 2 devices"),
    "profile to show": (["profiles", "show", "gpu"], {}, "profile 'gpu': 'gpu' is unknown"),
    "no cuda": (["train"], {"FASTVAE_PROFILE": "cuda"}, "profile 'cuda' cannot be had .*CUDA driver: .*install"),
    "float64": (["train"], {"flags": "floatX=float64"}, "floatX=float64 .from THEANO_FLAGS"),
    "no such device": (["train"], {"flags": "device=gpu"}, "device='gpu' .from THEANO_FLAGS. is no device"),
    "no such theanorc": (["train"], THEANORC, "no.theanorc"),
    "folder in use": (["train", "--out", folder_with(a="")], {}, "is not empty; give --out a new folder"),
    "file as folder": (["train", "--out", lambda path: sys.executable], {}, "cannot write to run folder"),
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
    lines = [line for line in done.stderr.splitlines() if not line.startswith("fastvae: profile auto")]
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
