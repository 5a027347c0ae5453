"""The compile cache is private, on by default, and never in the way."""

import os
import subprocess
import sys
import textwrap
import warnings

import pytest

from ptilde import _cache

TELL = "import ptilde._cache as c; c.enable(); import jax; print(jax.config.jax_compilation_cache_dir)"


def told(code=TELL, **environment):
    """What a fresh process prints, with a home of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PTILDE_", "XDG_", "JAX_"))}
    run = [sys.executable, "-W", "always", "-c", textwrap.dedent(code)]
    return subprocess.run(run, env=inherited | environment, capture_output=True, text=True, check=True)


def test_a_second_process_reads_what_the_first_compiled(tmp_path):
    # `compilation_cache_hits` is what JAX itself counts.
    code = """
        import ptilde._cache; ptilde._cache.enable()
        import jax, jax.monitoring, jax.numpy as jnp
        seen = []
        jax.monitoring.register_event_listener(lambda name, **_: seen.append(name.rsplit("/")[-1]))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.jit(lambda x: jnp.sort(jnp.sin(x)) @ x)(jnp.ones(7)).block_until_ready()
        print("cache_hits" in seen)
    """
    first, second = (told(code, HOME=str(tmp_path)) for _ in range(2))
    assert (first.stdout, second.stdout) == ("False\n", "True\n")
    assert second.stderr == ""
    (folder,) = (tmp_path / ".cache" / "ptilde").iterdir()
    assert folder.name.startswith("xla-")
    assert {entry.stat().st_mode & 0o777 for entry in (folder, folder.parent)} == {0o700}


def test_the_users_own_settings_are_respected(tmp_path):
    mine, home = tmp_path / "mine", str(tmp_path)
    assert told(HOME=home, JAX_COMPILATION_CACHE_DIR=str(mine)).stdout.strip() == str(mine)
    assert told(HOME=home, PTILDE_CACHE="0").stdout.strip() == "None"
    assert told(HOME=home, PTILDE_CACHE_DIR=str(mine)).stdout.startswith(str(mine / "xla-"))
    assert told(HOME=home, XDG_CACHE_HOME=str(mine)).stdout.startswith(str(mine / "ptilde" / "xla-"))
    assert not (tmp_path / ".cache").exists()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that this process would use, and whether JAX was pointed to it."""
    jax = pytest.importorskip("jax")
    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    monkeypatch.setattr(type(jax.config), "jax_compilation_cache_dir", None, raising=False)
    monkeypatch.delenv("PTILDE_CACHE", raising=False)
    monkeypatch.setenv("PTILDE_CACHE_DIR", str(tmp_path / "cache"))
    _cache.enable()
    folder = updates.pop("jax_compilation_cache_dir")
    return tmp_path.__class__(folder), updates


def open_to_all(folder):
    folder.chmod(0o755)


def make_link(folder):
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def make_file(folder):
    folder.rmdir()
    folder.write_text("")


@pytest.mark.parametrize(
    ("spoil", "words"), [(open_to_all, "open to other users (mode 755"), (make_link, "is a link"), (make_file, "not a")]
)
def test_a_folder_that_others_could_write_to_is_not_used_and_one_warning_says_why(cache, spoil, words):
    folder, updates = cache
    spoil(folder)
    updates.clear()
    with pytest.warns(UserWarning) as caught:
        _cache.enable()
    assert updates == {} and len(caught) == 1
    assert words in str(caught[0].message) and "PTILDE_CACHE_DIR" in str(caught[0].message)


def test_a_folder_of_another_user_is_not_used(cache, monkeypatch):
    _, updates = cache
    updates.clear()
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.warns(UserWarning, match="belongs to user .* and you are 12345"):
        _cache.enable()
    assert updates == {}


def test_a_home_that_cannot_be_written_to_is_no_error(tmp_path, cache, monkeypatch):
    _, updates = cache
    updates.clear()
    (tmp_path / "file").write_text("")
    for place in (str(tmp_path / "file" / "below"), "/proc/nowhere"):
        monkeypatch.setenv("PTILDE_CACHE_DIR", place)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _cache.enable()
    assert updates == {}
