"""Layers, composition, `auto`, and what each error says; resolving needs no theano."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from theano.configparser import _config_var_list

from fastvae import devices, profiles, renamed
from fastvae.devices import cuda_libraries
from fastvae.devices.findings import Finding
from fastvae.errors import ConfigurationError, ProfileError, StackError
from fastvae.profiles import theanorc

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NAMES = ["avx2", "cpu", "cpu-blas", "cuda", "cuda-tf32", "debug", "deterministic", "opencl", "profiling"]
WITHOUT_DEVICE = ("avx2", "debug", "deterministic", "profiling")
# A process that, like the command line, does not start the stack.
COMMAND = "import sys; sys.argv = ['fastvae']\nfrom fastvae import profiles\n"
MISSING = Finding("toy driver", False, why="it is not there", remedy="install it")


@pytest.fixture
def machine(monkeypatch):
    """Choose which families of devices this machine has."""

    def machine(**has):
        for family, there in has.items():
            monkeypatch.setitem(devices.REQUIREMENTS, family, () if there else (lambda device: MISSING,))
        monkeypatch.setattr(devices.cuda_libraries, "missing", lambda device, cuda_path: [])

    machine(cuda=False, opencl=False)
    return machine


def resolve(name=None, **environ):
    return profiles.resolve(name, {"HOME": "/nobody", **environ})


def rc(tmp_path, text, name="my.rc"):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


# The files


def test_all_are_there_and_say_float32():
    assert profiles.names() == NAMES
    for name in NAMES:
        values = theanorc.read_file(profiles.folder() / f"{name}.theanorc")
        assert (values["floatX"], values["fastvae.name"]) == ("float32", name)
        assert values["fastvae.about"]
        assert ("device" in values) == (name not in WITHOUT_DEVICE)


@pytest.mark.parametrize("name", NAMES)
def test_stock_theano_takes_every_value(name):
    """By theano's own filters; our section is the only one that it does not know."""
    known = {variable.fullname: variable for variable in _config_var_list}
    for key, value in theanorc.read_file(profiles.folder() / f"{name}.theanorc").items():
        if not key.startswith("fastvae."):
            known[key].filter(value)


def test_stock_theano_reads_the_files_without_a_word(run):
    files = ":".join(str(profiles.folder() / f"{name}.theanorc") for name in NAMES)
    flags = f"device=cpu,blas.ldflags={resolve('cpu').settings['blas.ldflags'][0]}"
    code = (
        "from bench.worker import from_fastvae; from_fastvae('stack/_gone').before_theano()\n"
        "import theano; print(theano.config.deterministic, theano.config.mode, theano.config.dnn.enabled)"
    )
    done = run(sys.executable, "-W", "error::UserWarning", "-c", code, THEANORC=files, flags=flags)
    assert (done.stdout, done.stderr) == ("more NanGuardMode False\n", "")


@pytest.mark.parametrize("name", NAMES)
def test_comments_stand_on_their_own_lines(name):
    for line in (profiles.folder() / f"{name}.theanorc").read_text().splitlines():
        assert line.startswith("#") or not re.search("[#;]", line)


def test_winograd_is_switched_by_theano_flags_and_takes_only_a_truth_value():
    def winograd(value):
        return profiles.resolve("cpu", environ={"THEANO_FLAGS": f"fastvae.winograd={value}"}).winograd

    assert profiles.resolve("cpu", environ={}).winograd and winograd("True") and not winograd("false")
    with pytest.raises(ProfileError, match="fastvae.winograd=off .from THEANO_FLAGS.: write true or false"):
        winograd("off")


def test_cpu_and_cpu_blas_are_the_same_and_only_tf32_tells_the_cudas_apart():
    def values(name):
        read = theanorc.read_file(profiles.folder() / f"{name}.theanorc")
        return {key: value for key, value in read.items() if key not in ("fastvae.name", "fastvae.about")}

    assert values("cpu") == {**values("cpu-blas"), "fastvae.backend": "cpu", "fastvae.winograd": "true"}
    assert {**values("cuda"), "fastvae.tf32": "true"} == values("cuda-tf32")
    assert values("cuda")["fastvae.tf32"] == "false"


def test_they_ship_in_the_wheel(tmp_path):
    (tmp_path / "src").mkdir()
    for name in ("setup.py", "README.md", "fastvae", "theanorc_profiles", "bench"):
        (tmp_path / "src" / name).symlink_to(ROOT / name)
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", tmp_path / "b"]
    subprocess.run([*command, "--build-lib", tmp_path / "lib"], cwd=tmp_path / "src", check=True, capture_output=True)
    code = f"{COMMAND}print(profiles.folder(), *profiles.names())"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=tmp_path, text=True, capture_output=True)
    assert done.stdout.split() == [f"{tmp_path}/lib/fastvae/theanorc_profiles", *NAMES], done.stderr


# Precedence and composition


def test_each_key_comes_from_the_highest_layer_that_has_it(tmp_path, machine):
    left = rc(tmp_path, "[global]\nallow_gc = True\nopenmp = True\n[lib]\namdlibm = False\n", "left.rc")
    right = rc(tmp_path, "[global]\nopenmp = False\n", "right.rc")
    profile = resolve("cpu", THEANORC=f"{left}:{right}", THEANO_FLAGS="allow_gc=False,mode=FAST_COMPILE")
    assert profile.settings["allow_gc"] == ("False", "THEANO_FLAGS")
    assert profile.settings["openmp"] == ("False", f"THEANORC {right}")
    assert profile.settings["lib.amdlibm"] == ("False", f"THEANORC {left}")
    assert profile.settings["device"] == ("cpu", "profile cpu")
    assert profile.settings["blas.ldflags"][1] == "resolved here"
    # What a file says, theano reads itself; it does not warn of unknown keys there.
    flags = theanorc.parse_flags(profile.flags)
    assert flags["mode"] == "FAST_COMPILE" and flags["device"] == "cpu"
    assert not {"openmp", "lib.amdlibm"} & set(flags) and not any(key.startswith("fastvae.") for key in flags)


def test_the_home_file_is_a_layer(tmp_path, machine):
    (tmp_path / ".theanorc").write_text("[gcc]\ncxxflags = -O1\n")
    profile = profiles.resolve("cpu", {"HOME": str(tmp_path)})
    assert profile.settings["gcc.cxxflags"] == ("-O1", "~/.theanorc")


@pytest.mark.parametrize(
    "name, environ, got",
    [
        ("cpu-blas", {"FASTVAE_PROFILE": "cpu"}, "cpu-blas"),
        (None, {"FASTVAE_PROFILE": "cpu-blas"}, "cpu-blas"),
        (None, {"FASTVAE_PROFILE": ""}, "cpu"),
        ("cpu:deterministic", {}, "cpu:deterministic"),
        ("deterministic: cpu", {}, "deterministic:cpu"),
        ("debug", {}, "cpu:debug"),
        ("auto:debug:deterministic", {}, "cpu:debug:deterministic"),
        ("debug", {"THEANO_FLAGS": "device=cuda1"}, "cuda:debug"),
    ],
)
def test_who_asks_and_what_is_composed(machine, name, environ, got):
    machine(cuda="device=cuda1" in environ.get("THEANO_FLAGS", ""))
    assert resolve(name, **environ).name == got


def test_the_right_profile_wins(monkeypatch, tmp_path, machine):
    for path in profiles.folder().glob("*.theanorc"):
        (tmp_path / path.name).write_text(path.read_text())
    text = (tmp_path / "deterministic.theanorc").read_text().replace("deterministic = more", "allow_gc = True")
    (tmp_path / "deterministic.theanorc").write_text(text)
    monkeypatch.setattr(profiles, "folder", lambda: tmp_path)
    assert resolve("cpu:deterministic").settings["allow_gc"] == ("True", "profile deterministic")
    assert resolve("deterministic:cpu").settings["allow_gc"] == ("False", "profile cpu")


def test_of_several_devices_in_THEANORC_the_right_one_wins(machine):
    cpu, blas, more = (profiles.folder() / f"{name}.theanorc" for name in ("cpu", "cpu-blas", "deterministic"))
    for files, name in (((cpu, more, blas), "deterministic:cpu-blas"), ((cpu, blas, cpu), "cpu")):
        profile = resolve(THEANORC=":".join(map(str, files)))
        assert profile.name == name and profile.settings["fastvae.backend"][1] == f"THEANORC {files[-1]}"


def test_THEANORC_at_one_of_our_files_asks_for_that_profile(machine):
    machine(opencl=True)
    path = profiles.folder() / "opencl.theanorc"
    profile = resolve(THEANORC=f"{path}:{profiles.folder() / 'deterministic.theanorc'}")
    assert (profile.name, profile.requested, profile.reason) == (*["opencl:deterministic"] * 2, "")
    assert profile.settings["device"] == ("opencl0:0", f"THEANORC {path}")
    assert profile.settings["blas.ldflags"][1] == "resolved here"


def test_our_own_keys_can_be_set_in_any_layer(tmp_path, machine):
    machine(cuda=True)
    assert resolve("cuda").options["tf32"] == "false"
    assert resolve("cuda-tf32").options["tf32"] == "true"
    profile = resolve("cuda", THEANO_FLAGS="fastvae.tf32=true")
    assert profile.options["tf32"] == "true" and "tf32" not in profile.flags


# auto


def test_auto_takes_cuda_if_it_can_and_says_why_not(machine):
    profile = resolve()
    assert (profile.name, profile.requested, profile.device) == ("cpu", "auto", "cpu")
    assert profile.reason == "profile auto: cpu (not cuda: it is not there; install it)"
    machine(cuda=True)
    assert (resolve().name, resolve().reason) == ("cuda", "profile auto: cuda")
    assert resolve("cpu").reason == ""


def test_auto_never_takes_opencl_and_falls_back_in_order(machine):
    machine(opencl=True, cpu=False)
    with pytest.raises(ProfileError, match="not cuda: .*not cpu: .*not cpu-blas: "):
        resolve()


@pytest.mark.parametrize("device, name", [("cpu", "cpu"), ("cuda1", "cuda"), ("opencl1:0", "opencl")])
def test_a_device_in_a_higher_layer_stops_auto(tmp_path, machine, device, name):
    machine(cuda=True, opencl=True)
    for environ in ({"THEANO_FLAGS": f"device={device}"}, {"THEANORC": rc(tmp_path, f"[global]\ndevice={device}\n")}):
        profile = resolve(**environ)
        assert (profile.name, profile.device, profile.reason) == (name, device, "")


def test_a_device_that_beats_a_named_profile_is_said(machine):
    profile = resolve("cuda", THEANO_FLAGS="device=cpu")
    assert (profile.name, profile.device) == ("cuda", "cpu")
    assert profile.reason == "device=cpu from THEANO_FLAGS takes precedence over device=cuda of profile cuda"


# Errors


@pytest.mark.parametrize(
    "name, environ, message",
    [
        ("cdua", {}, "'cdua' is unknown (did you mean 'cuda'?); admissible are auto, avx2, cpu, cpu-blas, cuda"),
        ("x:cpu", {}, "profile 'x:cpu': 'x' is unknown; admissible"),
        ("cpu:", {}, "'' is unknown"),
        ("cpu:cuda", {}, "names 2 devices (cpu, cuda)"),
        ("auto:cpu", {}, "names 2 devices (auto, cpu)"),
        (None, {"FASTVAE_PROFILE": "gpu"}, "profile 'gpu': 'gpu' is unknown"),
        ("cuda", {}, "profile 'cuda' is not available on this machine: toy driver: it is not there; install it"),
        ("opencl:debug", {}, "profile 'opencl:debug' is not available"),
        (None, {"THEANO_FLAGS": "device=cuda0"}, "device=cuda0 (from THEANO_FLAGS) is not available"),
        (None, {"THEANO_FLAGS": "device=gpu0"}, "device='gpu0' (from THEANO_FLAGS) is not a device"),
        ("cpu", {"THEANO_FLAGS": "device="}, "device='' (from THEANO_FLAGS) is not a device"),
        ("cpu", {"THEANO_FLAGS": "floatX=float64"}, "floatX=float64 (from THEANO_FLAGS): fastvae computes in float32"),
        ("cpu", {"THEANO_FLAGS": "floatX=16"}, "floatX=16 (from THEANO_FLAGS)"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(machine, name, environ, message):
    with pytest.raises(ProfileError) as error:
        resolve(name, **environ)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_float64_in_a_file_is_an_error_too(tmp_path, machine):
    path = rc(tmp_path, "[global]\nfloatx = float64\n")
    with pytest.raises(ProfileError, match=f"floatX=float64 .from THEANORC {path}"):
        resolve(THEANORC=path)
    assert resolve(THEANORC=path, THEANO_FLAGS="floatX=32").settings["floatX"] == ("32", "THEANO_FLAGS")


def test_missing_compiler_headers_or_blas_is_an_error_of_the_stack(monkeypatch, machine):
    with pytest.raises(StackError, match="cxx is set by THEANO_FLAGS.*'no-gcc' is not an exec.*apt-get install g"):
        resolve("cpu", THEANO_FLAGS="cxx=no-gcc")
    monkeypatch.setattr(devices, "headers", lambda: MISSING)
    monkeypatch.setattr(devices, "blas", lambda: MISSING)
    with pytest.raises(StackError) as error:
        resolve("cpu")
    assert str(error.value).count("toy driver: it is not there; install it") == 2
    assert "cannot be used" in profiles.explain("cpu", {"HOME": "/nobody"})


# BLAS, text


def test_a_users_blas_wins_and_is_stated(machine):
    profile = resolve("cpu")
    assert profile.blas == f"{devices.blas().version} ({profile.blas_path})"
    profile = resolve("cpu", THEANO_FLAGS="blas.ldflags=-L/none -lnone")
    assert profile.settings["blas.ldflags"] == ("-L/none -lnone", "THEANO_FLAGS")
    assert (profile.blas, profile.blas_path) == ("-L/none -lnone from THEANO_FLAGS", None)
    assert resolve("cpu", THEANO_FLAGS="blas.ldflags=").blas.startswith("numpy's own")


def test_kernels_of_each_nvrtc_have_their_own_cache(monkeypatch, machine):
    machine(cuda=True)
    nvrtc = Finding("nvrtc", True, "12.9")
    monkeypatch.setattr(profiles.cuda_libraries, "find", lambda device, cuda_path: [None, nvrtc, None, None])
    key = "gpuarray.cache_path"
    assert resolve("cuda", THEANO_FLAGS="base_compiledir=/c").settings[key][0] == "/c/gpuarray_kernels_nvrtc_12.9"
    assert resolve("cuda", THEANO_FLAGS=f"{key}=/mine").settings[key] == ("/mine", "THEANO_FLAGS")


@pytest.mark.parametrize(
    "gpus, place, flags, expected",
    [
        (4, "3", "", "cuda3"),
        (1, "3", "", "cuda0"),  # the scheduler shows each rank its own
        (4, "3", "device=cuda1", "cuda1"),
        (4, None, "", "cuda"),
        (0, "3", "", "cuda"),
    ],
)
def test_each_rank_of_a_machine_has_a_gpu_of_its_own(monkeypatch, machine, gpus, place, flags, expected):
    machine(cuda=True)
    monkeypatch.setattr(profiles.cuda_libraries, "driver", lambda *device: cuda_libraries.Driver(MISSING, devices=gpus))
    environ = {"PMI_SIZE": "8", "MPI_LOCALNRANKS": "4", **({"MPI_LOCALRANKID": place} if place else {})}
    profile = resolve("cuda", THEANO_FLAGS=flags, **environ)
    assert profile.device == expected
    assert expected == "cuda" or flags or profile.settings["device"][1] == "profile cuda, rank 3 of this machine"
    assert resolve("cuda", PMI_SIZE="8", MPI_LOCALNRANKS="1", MPI_LOCALRANKID="0").device == "cuda"


def test_folders_of_cuda_libraries_come_from_the_environment_before_the_profile(machine):
    machine(cuda=True)
    assert resolve("cuda").cuda_path is None
    assert resolve("cuda", THEANO_FLAGS="fastvae.cuda_path=/mine").cuda_path == "/mine"
    both = dict(THEANO_FLAGS="fastvae.cuda_path=/mine", FASTVAE_CUDA_PATH="/now:/then")
    assert resolve("cuda", **both).settings["fastvae.cuda_path"] == ("/now:/then", "FASTVAE_CUDA_PATH")


def test_listing_names_every_profile_and_what_is_missing(machine):
    lines = profiles.listing().splitlines()
    assert [line.split()[0] for line in lines[: len(NAMES) + 1]] == [*NAMES, "auto"]
    assert "[not here: toy driver missing]" in lines[NAMES.index("cuda")]
    assert "[not here" not in lines[NAMES.index("cpu")]


def test_explain_shows_every_key_with_its_layer_even_of_what_cannot_be_had(machine):
    text = profiles.explain("cuda:deterministic", {"HOME": "/nobody", "THEANO_FLAGS": "allow_gc=True"})
    assert "profile 'cuda:deterministic' is not available on this machine: toy driver" in text
    for key, value, layer in (
        ("device", "cuda", "profile cuda"),
        ("deterministic", "more", "profile deterministic"),
        ("allow_gc", "True", "THEANO_FLAGS"),
        ("fastvae.tf32", "false", "profile cuda"),
    ):
        assert re.search(rf"^{re.escape(key)} += {value}  \[{layer}\]$", text, re.M), text
    assert profiles.explain(environ={"HOME": "/nobody"}).startswith("profile cpu: ")


def test_an_empty_name_is_refused():
    with pytest.raises(ConfigurationError, match="name='' must be"):
        resolve("")


def test_an_unknown_name_in_a_file_is_said_to_be_there(tmp_path):
    path = tmp_path / "my.theanorc"
    path.write_text("[fastvae]\nname = mine\n")
    with pytest.raises(ProfileError, match="'mine' is unknown.* .it is the .fastvae. name in THEANORC .*my.theanorc"):
        resolve(THEANORC=str(path))


def test_without_onednn_auto_takes_cpu_blas_and_cpu_by_name_is_an_error(machine, monkeypatch):
    machine(cuda=False)
    absent = Finding("oneDNN", False, why="it is not there", remedy="install it, or take the profile 'cpu-blas'")
    monkeypatch.setattr(devices, "onednn", lambda: absent)
    profile = resolve()
    assert profile.name == "cpu-blas" and profile.backend == "stock"
    assert "not cpu: it is not there; install it" in profile.reason
    with pytest.raises(ProfileError, match="'cpu' is not available on this machine: oneDNN: .*'cpu-blas'"):
        resolve("cpu")


def test_each_profile_names_its_backend_and_another_device_has_another(machine):
    machine(cuda=True, opencl=True)
    assert [resolve(name).backend for name in ("cpu", "cpu-blas", "opencl", "cuda")] == ["cpu", "stock", "gpu", "gpu"]
    for name in ("cpu", "cpu-blas"):
        assert resolve(name, THEANO_FLAGS="device=opencl0:0").backend == "gpu"
    assert resolve("opencl", THEANO_FLAGS="device=cpu").backend == "stock"
    assert resolve("opencl", THEANO_FLAGS="fastvae.backend=stock").backend == "stock"
    for value, remedy in (("mkl", "is unknown: write cpu, gpu, or stock"), ("gpu", "device=cpu: write cpu, or stock")):
        with pytest.raises(ProfileError, match=f"fastvae.backend={value} .from THEANO_FLAGS. .*{remedy}"):
            resolve("cpu", THEANO_FLAGS=f"fastvae.backend={value}")


def test_the_former_name_of_the_cpus_backend_goes_on(machine, tmp_path):
    machine()
    copy = tmp_path / "mine.theanorc"
    copy.write_text((profiles.folder() / "cpu.theanorc").read_text().replace("backend = cpu", "backend = onednn"))
    message = "fastvae.backend=onednn .from THEANORC .*. is now fastvae.backend=cpu"
    with pytest.warns(renamed.RenamedWarning, match=message):
        profile = resolve(THEANORC=str(copy))
    assert (profile.name, profile.backend) == ("cpu", "cpu")
