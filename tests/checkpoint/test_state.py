import dataclasses
import random

import numpy as np
import pytest
import theano

from fastvae import checkpoint
from fastvae.checkpoint import container
from fastvae.checkpoint.container import DamagedError
from fastvae.checkpoint.state import FORMAT, NEEDED, State
from fastvae.errors import DataError
from tests.on_devices import on_every_device


@pytest.fixture
def run(compiled):
    return compiled.again()


def rewrite(path, **changes):
    container.write(path, {**container.read(path), **changes})


@on_every_device
def test_a_state_holds_every_updated_variable_and_the_losses(run, folder):
    state = checkpoint.newest(folder)
    found = {entry["name"]: entry["value"] for entry in state["variables"]}
    assert found["w"].tobytes() == run.w.get_value().tobytes() and found["count"] == 6
    random_states = [value for value in found.values() if value.dtype == np.int32]
    assert len(found) == 3 and random_states[0].shape[1] == 6  # and not the scale, which no step updates
    assert state["step"] == 6 and state["losses"].shape == (6,)
    assert state["made_by"]["theano"] == theano.__version__ and state["made_by"]["profile"]


def test_two_hundred_mutated_checkpoints_are_detected(folder):
    path = folder / "checkpoint-00000006.ckpt"
    whole, rng = path.read_bytes(), random.Random(1)
    for _ in range(200):
        position, value = rng.randrange(len(whole)), rng.randrange(1, 256)
        path.write_bytes(whole[:position] + bytes([whole[position] ^ value]) + whole[position + 1 :])
        with pytest.raises(DamagedError):
            checkpoint.read(path)
    path.write_bytes(whole)
    assert checkpoint.read(path)["step"] == 6


def test_a_newer_format_is_an_error_and_not_passed_over(run, folder):
    rewrite(folder / "checkpoint-00000006.ckpt", format=FORMAT + 1)
    with pytest.raises(DataError, match=f"has format {FORMAT + 1}, newer than {FORMAT}.*upgrade fastvae"):
        run.checkpoints(folder, resume=True)


WRONG = [None, True, -1, 2**70, 0.5, "", [], {}, [[]], [None], [{}], np.zeros(3), np.zeros((6, 1)), np.zeros(6, "S3")]


FIELDS = {field.name: field.metadata for field in dataclasses.fields(State)}


@pytest.mark.parametrize("name", FIELDS)
def test_a_state_of_another_kind_is_damage_and_the_one_before_is_taken(folder, name, capsys):
    path = folder / "checkpoint-00000006.ckpt"
    contents = container.read(path)
    changed = [{**contents, name: value} for value in WRONG if not FIELDS[name]["is_right"](value)]
    if FIELDS[name]["absent"] is NEEDED:
        changed.append({key: value for key, value in contents.items() if key != name})
    assert len(changed) >= 7
    for values in changed:
        container.write(path, values)
        with pytest.raises(DamagedError, match=f"00000006.ckpt: its checksum is right, but not its '{name}'"):
            checkpoint.read(path)
    assert checkpoint.newest(folder)["step"] == 4
    assert "trying the checkpoint before it" in capsys.readouterr().err


@pytest.mark.parametrize("version", [None, True, 0, -1, 1.5, "2", [2], {}])
def test_a_format_that_no_version_has_is_damage(folder, version):
    path = folder / "checkpoint-00000006.ckpt"
    rewrite(path, format=version)
    with pytest.raises(DamagedError, match="not its 'format'"):
        checkpoint.read(path)


def test_format_1_had_the_states_of_two_parts_as_fields(folder):
    path = folder / "checkpoint-00000006.ckpt"
    contents = container.read(path)
    best = {"step": 3, "elbo": -2.5, "values": [np.ones(3, "float32")]}
    old = {**contents, "format": 1, "held_out": [[3, -2.5], [6, float("nan")]], "best": best}
    del old["parts"]
    container.write(path, old)
    parts = checkpoint.read(path)["parts"]
    assert parts["held_out"]["measured"][0] == [3, -2.5] and parts["best"]["values"][0].tolist() == [1, 1, 1]
    assert checkpoint.read(path)["losses"].tolist() == contents["losses"].tolist()
    container.write(path, {**old, "best": None})
    assert set(checkpoint.read(path)["parts"]) == {"held_out"}
    wrong = {
        "best": [[], 3, {"step": 3}, {**best, "values": [1]}],
        "held_out": [None, {}, [[1]], [[0.5, 1]], [[1, "a"]]],
    }
    for name, values in wrong.items():
        for value in values:
            container.write(path, {**old, name: value})
            with pytest.raises(DamagedError, match=f"not its '{name}'"):
                checkpoint.read(path)


def test_fields_of_a_later_version_are_passed_over(folder):
    path = folder / "checkpoint-00000006.ckpt"
    rewrite(path, weather="rain")
    assert checkpoint.read(path)["step"] == 6


def test_losses_of_another_number_of_steps_are_damage(folder):
    path = folder / "checkpoint-00000006.ckpt"
    rewrite(path, step=5)
    with pytest.raises(DamagedError, match="not its 'losses'"):
        checkpoint.read(path)
