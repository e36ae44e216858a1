"""Places are searched in the documented order."""

from fastvae.devices import cuda_search


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def test_named_folders_then_own_wheels_then_named_site_packages_then_the_system(tmp_path):
    named = _touch(tmp_path / "named/libnvrtc.so.12")
    toolkit = [_touch(tmp_path / f"toolkit/lib64/libnvrtc.so.{major}") for major in (13, 12)]
    own = _touch(tmp_path / "own/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")
    other = _touch(tmp_path / "other/nvidia/cu13/lib/libnvrtc.so.13")
    system = _touch(tmp_path / "system/libnvrtc.so.11")
    _touch(tmp_path / "named/libnvrtc.so.12.9.86")  # a real file behind a SONAME is no candidate of its own
    path = f"{tmp_path}/other:{tmp_path}/named:{tmp_path}/toolkit"
    places = dict(own=[tmp_path / "own"], system=[f"{tmp_path}/sys*"])
    expected = [named, *toolkit, own, other, system]
    assert cuda_search.candidates("nvrtc", path, environ={}, **places) == expected
    assert cuda_search.candidates("nvrtc", environ={cuda_search.VARIABLE: path}, **places) == expected
    assert cuda_search.candidates("nvrtc", str(tmp_path / "toolkit"), {cuda_search.VARIABLE: path}, **places) == [
        *[*toolkit, own, system]
    ]


def test_a_library_that_does_not_load_is_not_usable(tmp_path):
    path = _touch(tmp_path / "libcublas.so.12")
    answer = cuda_search.asked("cublas", path)
    assert answer.version == () and "file too short" in answer.error
