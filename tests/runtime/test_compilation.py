"""Compiled programs are kept where documented, never in the way, and one compilation serves all levels."""

import contextlib
import os
import subprocess
import sys
import warnings
import zlib

import jax
import optax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from experiments import cli
from lthjax.runtime import compilation, program_files
from lthjax.search import problem
from lthjax.search.find_tickets import find_tickets
from lthjax.settings import Settings
from lthjax.training import step as train

TINY = {"dim": 3, "epochs": 2, "levels": 3, "batch_size": 64}


@pytest.fixture
def cache_home(tmp_path, monkeypatch):
    """The cache allowed, as it is outside of tests, and the user's cache folder an empty one."""
    names = ("jax_enable_compilation_cache", "jax_compilation_cache_dir", compilation._MIN_SECONDS)
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()
    yield tmp_path / "cache"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def pairs(tmp_path):
    """A file of pairs: 12 users with 8 of 17 items each."""
    path = tmp_path / "pairs.txt"
    path.write_text("".join(f"{user} {(user * item) % 17}\n" for user in range(1, 13) for item in range(1, 9)))
    return path


@contextlib.contextmanager
def compiled():
    """Names of the programs that are compiled or loaded meanwhile, and how often one was found in the cache."""
    names, hits = [], []

    def on_duration(event, duration, **facts):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(facts["fun_name"])

    def on_event(event, **facts):
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    jax.monitoring.register_event_duration_secs_listener(on_duration)
    jax.monitoring.register_event_listener(on_event)
    try:
        yield names, hits
    finally:
        jax.monitoring.unregister_event_duration_listener(on_duration)
        jax.monitoring.unregister_event_listener(on_event)


def test_the_folder_is_the_users_and_names_what_the_code_is_for(cache_home):
    folder = compilation.keep_programs()
    assert folder.parent == cache_home / "lthjax" / "programs"
    assert folder.name.startswith(f"{jax.__version__}-{jax.lib.__version__}-")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert compilation.keep_programs() is None  # it is settled


@pytest.mark.parametrize("given", ["", "relative"])
def test_without_a_cache_home_it_is_in_the_home(given, cache_home, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compilation.keep_programs().parent == tmp_path / ".cache" / "lthjax" / "programs"


def test_machines_that_differ_share_no_code(monkeypatch):
    mark = compilation._machine()
    assert compilation._machine() == mark
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(97), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 97)
    assert compilation._machine() != mark


def test_the_users_own_settings_stay(cache_home, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", "mine")
    assert compilation.keep_programs() is None
    assert jax.config.jax_compilation_cache_dir == "mine"
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    assert compilation.keep_programs() is None
    jax.config.update("jax_enable_compilation_cache", True)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    before = getattr(jax.config, compilation._MIN_SECONDS)
    assert compilation.keep_programs() is not None
    assert getattr(jax.config, compilation._MIN_SECONDS) == before


def test_a_folder_that_cannot_be_made_is_one_warning(cache_home):
    cache_home.write_text("a file")
    with pytest.warns(UserWarning, match="compiled programs are not kept: .*cache") as caught:
        assert compilation.keep_programs() is None
    assert len(caught) == 1
    assert jax.config.jax_compilation_cache_dir is None


def test_what_was_not_used_for_longest_makes_room(tmp_path):
    for age, name in enumerate(("newest", "middle", "oldest")):
        (tmp_path / "version").mkdir(exist_ok=True)
        path = tmp_path / "version" / name
        path.write_bytes(bytes(10))
        os.utime(path, (1e9 - age, 1e9 - age))
    program_files.make_room(tmp_path, 30)
    assert len(list(tmp_path.glob("*/*"))) == 3
    program_files.make_room(tmp_path, 15)
    assert [path.name for path in tmp_path.glob("*/*")] == ["newest"]


def test_other_warnings_are_told_as_they_are(cache_home):
    assert compilation.heed("something else") == "something else"
    jax.config.update("jax_compilation_cache_dir", str(cache_home))
    own = "Error reading persistent compilation cache entry for 'jit_f': OSError: no"
    assert compilation.heed(own) == own  # the user's own folder


def test_a_disk_that_fills_up_is_told_once(cache_home):
    folder = compilation.keep_programs()
    cut_short = folder / "jit_f-0123-cache"
    cut_short.write_bytes(b"half")
    other = folder / "jit_f_too-0123-cache"
    other.write_bytes(b"whole")
    shown = compilation.heed("Error writing persistent compilation cache entry for 'jit_f': OSError: disk full")
    assert shown == "compiled programs are no longer kept: OSError: disk full"
    assert not cut_short.exists()
    assert other.exists()
    jax.jit(lambda x: x - 5)(1.0)
    assert program_files.names(folder) == {other.name}  # nothing more is written
    other.unlink()
    folder.joinpath("digests").unlink(missing_ok=True)
    folder.rmdir()  # by somebody, meanwhile
    assert compilation.heed("Error reading persistent compilation cache entry for 'jit_f': OSError: gone") == ""


def test_a_program_without_its_digest_is_removed_before_it_is_run(tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content)

    whole = {f"jit_{letter}-0-cache": letter.encode() * 50 for letter in "abcdef"}
    for name, content in whole.items():
        write(name, content)
        program_files.add_digests(tmp_path)  # as JAX says after each
    write("autotune", b"not a program")
    os.utime(tmp_path / "jit_a-0-cache", (1e9, 1e9))
    program_files.remove_changed(tmp_path)
    assert program_files.names(tmp_path) == whole.keys()
    assert (tmp_path / "jit_a-0-cache").stat().st_atime == 1e9  # checked, not used
    write("jit_b-0-cache", b"b" * 49 + b"c")
    write("jit_c-0-cache", whole["jit_d-0-cache"])  # whole, but another's
    write("jit_g-0-cache", b"of a process that was killed before it wrote the digest")
    (tmp_path / "jit_d-0-cache").unlink()
    (tmp_path / "jit_d-0-cache").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "jit_h-0-cache")
    (tmp_path / "jit_i-0-cache").mkdir()
    program_files.remove_changed(tmp_path)
    assert program_files.names(tmp_path) == {f"jit_{letter}-0-cache" for letter in "aef"}
    write("jit_b-0-cache", b"compiled anew, differently")
    program_files.add_digests(tmp_path)
    program_files.remove_changed(tmp_path)
    assert program_files.names(tmp_path) == {f"jit_{letter}-0-cache" for letter in "abef"}
    write("digests", b"\xff half a line")
    program_files.remove_changed(tmp_path)
    assert program_files.names(tmp_path) == set()


def test_processes_that_share_a_folder_keep_what_each_has_written(tmp_path):
    """Both see the programs of both; each appends what is new to it."""
    add = f"from lthjax.runtime import program_files as p; from pathlib import Path; folder = Path({str(tmp_path)!r})\n"
    add += "for number in range(20):\n (folder / f'jit_{me}{number}-0-cache').write_bytes(bytes(number + 1))\n"
    add += " p.add_digests(folder)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen([sys.executable, "-c", f"me = {me!r}; {add}"], env=environment) for me in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    program_files.remove_changed(tmp_path)
    assert len(program_files.names(tmp_path)) == 40


def test_one_compilation_serves_all_levels(cache_home, pairs):
    """Level 1 compiles what prunes; the levels after it, nothing. From Python, JAX's settings stay as they are."""
    problem._program.cache_clear()
    names = {}
    with compiled() as (so_far, _):
        for ticket in find_tickets(pairs, settings=Settings(**TINY), show_progress=False):
            names[ticket.level] = list(so_far)
            so_far.clear()
    assert names[0].count("jit(run_steps)") == 1
    assert "jit(run_steps)" not in names[1]
    assert names[2] == names[3] == []
    assert jax.config.jax_compilation_cache_dir is None
    assert not cache_home.exists()


@pytest.mark.filterwarnings("default")  # JAX warns, and we answer
def test_a_second_start_loads_and_damaged_programs_are_compiled_anew(
    cache_home, make_program, tiny_graph, some_masks, assert_same, monkeypatch, capsys
):
    monkeypatch.setattr("sys.argv", ["job"])
    monkeypatch.setattr("warnings.showwarning", warnings.showwarning)  # put back when the test is over
    key = jax.random.key(0)

    def start():
        """What a command line gives that trains a little; (result, programs, programs found in the cache)."""
        results = []

        def main(config):
            program = make_program(optax.adam(0.05))  # nothing compiled, as in a new process
            state = program.start(program.init(key), some_masks)
            results.append(program.run_steps(state, train.LossMeter.zero(), some_masks, tiny_graph, key, 5))

        jax.clear_caches()  # programs that earlier tests compiled would be neither stored nor loaded
        jax.config.update("jax_compilation_cache_dir", None)
        compilation_cache.reset_cache()
        with compiled() as (names, hits), pytest.raises(SystemExit) as end:
            cli.run(main, Settings, "")
        assert (end.value.code, capsys.readouterr().err) == (0, "")
        assert names.count("jit(run_steps)") == 1
        return results[0], len(names), len(hits)

    cold, _, _ = start()
    folder = next((cache_home / "lthjax" / "programs").iterdir())
    (path,) = folder.glob("jit_run_steps-*-cache")
    swapped, shortened = sorted(folder / name for name in program_files.names(folder) - {path.name})[:2]
    warm, num_programs, num_hits = start()
    assert num_hits == num_programs
    assert_same(warm, cold)
    program = bytearray(zlib.decompress(path.read_bytes()))
    program[len(program) // 2] ^= 0xFF
    damaged = {
        path: zlib.compress(program),  # JAX would run it
        swapped: shortened.read_bytes(),  # this too
        shortened: shortened.read_bytes()[:100],
    }
    for entry, content in damaged.items():
        entry.write_bytes(content)
    mended, num_programs, num_hits = start()
    assert num_hits == num_programs - len(damaged)
    assert_same(mended, cold)
    assert all(entry.read_bytes() != content for entry, content in damaged.items())
    assert start()[1:] == (num_programs, num_programs)
