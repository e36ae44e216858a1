"""`mpiexec -n 2 fastvae train`: one run folder, written by one rank."""

from fastvae import checkpoint


def test_ranks_train_one_run(launch, tmp_path):
    folder = tmp_path / "run"
    options = ["--model", "mlp", "--batch-size", 8, "--iterations", 6, "--checkpoint-every", 3]
    done = launch(2, "-m", "fastvae", "train", *options, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run written to") == done.stdout.count("model: MLPVAE") == 1
    assert done.stderr.count("2 ranks x 8 images = 16 a step; learning rate as given") == 1
    assert sorted(checkpoint.steps(folder)) == [0, 3, 6] and (folder / "vae.npz").exists()
    again = launch(2, "-m", "fastvae", "train", *options, "--out", folder)
    assert again.returncode == 2 and again.stderr.count("is not empty; give --out a new folder") == 1
