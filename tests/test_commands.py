"""What the commands decide before they compute; `tests/test_cli.py` runs them whole."""
import numpy as np

import fastvae
from fastvae import commands


def test_held_out_images_come_with_their_labels():
    images, labels, name = commands.held_out("fashion-mnist-sample")
    assert (images.shape, labels.shape, name) == ((1000, 1, 28, 28), (1000,), "held-out")


def test_without_a_test_split_the_training_images_serve(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.full((3, 4, 4), 0.5))
    images, labels, name = commands.held_out(str(tmp_path / "a.npy"))
    assert (images.shape, labels, name) == ((3, 1, 4, 4), None, "training")
    assert "has no test images" in capsys.readouterr().err


def test_the_picture_of_the_model_has_every_layer_between_image_and_latent():
    boxes = commands._boxes(fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=8, seed=1))
    assert [kind for *_, kind in boxes] == ["observed", *["encoder"] * 3, *["decoder"] * 3, "latent"]
    assert boxes[0][1] == "1 x 4 x 4" and boxes[2] == ("Linear", "8", "encoder")
