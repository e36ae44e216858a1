from fastvae.backends import c_module


def test_depends_on_sources_and_command(tmp_path):
    (tmp_path / "a.c").write_text("int a;")
    first = c_module.digest(str(tmp_path), ["g++"])
    assert c_module.digest(str(tmp_path), ["g++", "-O1"]) != first
    (tmp_path / "a.h").write_text("int b;")
    assert c_module.digest(str(tmp_path), ["g++"]) != first
