"""The blocks of README, each run alone, from the built wheel, with its extras."""

from __future__ import annotations

import json
import re
import runpy
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from laser_tools.pico import SCENE
from tests import wheel
from tests.docs.blocks import INSTALLS, Block, blocks_of
from tests.docs.commands import check, check_options, commands

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS = 450
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"^# prints .*?(\w*\d\w*)", re.MULTILINE)
PORT, PATIENCE_S = "8000", 300
Environment = Callable[[frozenset[str]], Path]

BLOCKS = blocks_of(ROOT / "README.md")
ALONE = [block for block in BLOCKS if INSTALLS.match(block.code)]
CHECKOUT = [block for block in BLOCKS if block not in ALONE]
(SERVE,) = (block for block in ALONE if "laser-tools serve" in block.code)
(CLIENT,) = (block for block in ALONE if "WorkerClient" in block.code)
TOO_FEW = [(block, block.extras - {extra}) for block in ALONE for extra in sorted(block.extras)]


def named(blocks: list[Block]) -> list[object]:
    return [pytest.param(block, id=block.name[:40]) for block in blocks]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The bin folder of an environment with exactly these extras."""
    built = wheel.build(tmp_path_factory.mktemp("wheel"))
    made: dict[frozenset[str], Path] = {}

    def find(extras: frozenset[str]) -> Path:
        if extras not in made:
            folder = tmp_path_factory.mktemp("-".join(["with", *sorted(extras)]))
            made[extras] = wheel.environment(folder, built, extras)
        return made[extras]

    return find


def run(block: Block, bin_folder: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block's code in the empty `folder`."""
    start = {"python": ["python", "-c"], "bash": ["bash", "-euc"]}[block.language]
    return subprocess.run(
        [*start, block.code], cwd=folder, env=wheel.shell(bin_folder, OMP_NUM_THREADS="1"),
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip


def assert_true(block: Block, done: subprocess.CompletedProcess[str]) -> None:
    """Assert that it prints what README says, which is what the picture shows."""
    truth = json.loads(SCENE.with_suffix(".json").read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert truth["question"] in block.code
    assert PRINTS.findall(block.code) == [truth["answer"]]
    assert re.search(rf"\b{truth['answer']}\b", done.stdout), done.stdout


@pytest.mark.parametrize("block", named([b for b in ALONE if b not in (SERVE, CLIENT)]))
@pytest.mark.timeout(600)  # 25 s where nothing else runs
def test_a_block_runs_alone_from_the_wheel(
    block: Block, environment: Environment, tmp_path: Path
) -> None:
    done = run(block, environment(block.extras), tmp_path)
    if block.language == "python":
        assert_true(block, done)
        return
    assert done.returncode == 0, done.stderr
    for file in re.findall(r"--(?:save|json) (\w+\.\w+)", block.code):
        assert (tmp_path / file).stat().st_size > 0
    for image, question in re.findall(r'ask (\S+) "(.*?)"', block.code):
        items = json.loads((tmp_path / image).with_name("items.json").read_text())
        truth = {(item["image"], item["question"]): item["answer"] for item in items}
        assert f"  laser       {truth[Path(image).name, question]!r}" in done.stdout


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.timeout(600)
def test_the_client_block_asks_the_served_one(environment: Environment, tmp_path: Path) -> None:
    port = str(free_port())
    client = replace(CLIENT, code=CLIENT.code.replace(PORT, port))
    with serving(SERVE.code.replace(PORT, port), environment(SERVE.extras), tmp_path, port):
        done = run(client, environment(CLIENT.extras), tmp_path)
    assert_true(client, done)


@contextmanager
def serving(code: str, bin_folder: Path, folder: Path, port: str) -> Iterator[None]:
    """The worker of that block, ready; it must end with 0 when told to."""
    command = ["bash", "-euc", re.sub(r"^laser-tools", "exec laser-tools", code, flags=re.M)]
    variables = wheel.shell(bin_folder, OMP_NUM_THREADS="1")
    with subprocess.Popen(
        command, cwd=folder, env=variables, stderr=subprocess.PIPE, text=True
    ) as worker:
        try:
            wait_until_ready(port, worker)
            yield
        finally:
            worker.terminate()
            _, log = worker.communicate(timeout=PATIENCE_S)
        assert worker.returncode == 0, log


def wait_until_ready(port: str, worker: subprocess.Popen[str]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while worker.poll() is None and time.monotonic() < end_s:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the worker did not get ready")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("block", "extras"),
    [pytest.param(b, few, id=f"{b.name[:25]} {','.join(few)}") for b, few in TOO_FEW],
)
def test_a_block_needs_every_extra_that_it_names(
    block: Block, extras: frozenset[str], environment: Environment, tmp_path: Path
) -> None:
    """Else the environments of these tests would prove nothing."""
    done = run(block, environment(extras), tmp_path)
    said = done.stdout + done.stderr
    assert re.search(r"pip install 'laser-tools\[|No module named 'langchain'", said), said
    assert "511" not in done.stdout


def test_the_other_blocks_name_what_there_is() -> None:
    """Every target of the Makefile and every extra that they name exists."""
    for block in CHECKOUT:
        for command in commands(block.code):
            assert command.words[0] in ("make", "pip"), command
            check(command)
    assert {"make demo", "make test"} <= set(re.findall(r"^make \w+", README, re.MULTILINE))


def test_readme_is_short() -> None:
    prose = FENCED.sub("", README)
    assert len(prose.split()) <= WORDS


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda p: p.name
)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


COMMANDS = {
    line
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    for line in re.findall(r"`laser-tools ([a-z][^`]*)`", page.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("line", sorted(COMMANDS))
def test_a_command_in_a_sentence_is_there(line: str) -> None:
    check_options(line.split())


def test_the_wheel_holds_the_package_and_its_licence(tmp_path: Path) -> None:
    built = wheel.build(tmp_path)
    names = zipfile.ZipFile(built).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"laser_tools"}
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert [name for name in names if name.endswith(".png")] == ["laser_tools/pico/scene.png"]


def test_example_asks_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "ask.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "plain: " in printed
    assert "laser: 511" in printed
    assert (tmp_path / "evidence.png").is_file()


def test_example_scores_variants(capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "choose_options.py"))
    example["main"](n=6)
    assert capsys.readouterr().out.count("right, box hit") == len(example["VARIANTS"])
