"""`platform/` is a room and not a package: the module of the standard library keeps its name."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = "import platform, nlift; print(platform.__file__); print(platform.system()); print(nlift.__file__)"
SCRIPT = f"import sys; sys.path[:0] = [{str(ROOT / 'platform')!r}, {str(ROOT / 'serve')!r}]; {CODE}"


def shown(*command, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def assert_standard(lines):
    assert Path(lines[0]) == Path(os.__file__).with_name("platform.py")
    assert lines[1] in ("Linux", "Darwin", "Windows")
    assert Path(lines[2]) == ROOT / "platform" / "nlift" / "__init__.py"


@pytest.mark.parametrize("room", ["platform", "serve", "jobs"])
def test_a_room_is_not_a_package(room):
    assert (ROOT / room).is_dir() and not (ROOT / room / "__init__.py").exists()


def test_in_the_root_of_the_checkout():
    assert_standard(shown("-c", CODE))


def test_with_the_root_on_the_path():
    assert_standard(shown("-c", CODE, PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'platform'}"))


def test_in_a_script_of_jobs():
    assert_standard(shown("-c", SCRIPT))


def test_in_a_script_that_runs_from_a_file(tmp_path):
    (tmp_path / "job.py").write_text(SCRIPT)
    assert_standard(shown(str(tmp_path / "job.py"), PYTHONPATH=str(ROOT)))


def test_within_these_tests():
    import nlift

    assert_standard([platform.__file__, platform.system(), nlift.__file__])
