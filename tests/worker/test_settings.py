"""A wrong LASER_* value stops the start, with its name and what to do; a key is never shown."""

from __future__ import annotations

import json
import socket

import pytest

from laser_tools import cli
from laser_tools.errors import Misconfigured, MissingExtra
from laser_tools.wire import is_loopback
from laser_tools.worker.settings import worker_settings
from tests.worker.harness import ALICE, BOB, OPERATOR

WRONG = {
    "LASER_PORT": ("http", "70000", "-1", ""),
    "LASER_HOST": ("",),
    "LASER_DTYPE": ("int8",),
    "LASER_FREEZE_VISUAL_LAYERS": ("last", "1;2"),
    "LASER_ISOLATED": ("maybe",),
    "LASER_MAX_QUEUED": ("0", "many", "1.5"),
    "LASER_MAX_BATCH_SIZE": ("0",),
    "LASER_MAX_WAIT_MS": ("-1", "nan"),
    "LASER_PER_KEY_IN_FLIGHT": ("0",),
    "LASER_MAX_BODY_BYTES": ("12MB",),
    "LASER_MAX_IMAGE_SIDE_PX": ("1",),
    "LASER_IMAGE_STORE_BYTES": ("0", "2000000"),  # the second: less than one image
    "LASER_DEFAULT_DEADLINE_S": ("0", "inf", "1000"),  # the last: more than the longest
    "LASER_HEARTBEAT_S": ("0",),
    "LASER_DRAIN_S": ("-5",),
    "LASER_API_KEYS": (
        "short-secret", "a secret with spaces", "секрет-not-ASCII-secret", f"{ALICE},secret",
    ),
    "LASER_API_KEY": ("short-secret",),
    "LASER_METRICS_KEY": ("short-secret", ""),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WRONG:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_variable_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert cli.run(["serve", "--check"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"laser-tools: {name}")
    assert " must be " in captured.err
    assert "secret" not in captured.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "worker.example", "127.0.0.1.x"])
def test_other_machines_need_a_key(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match=r"^LASER_API_KEYS must hold a key .*LASER_HOST"):
        worker_settings(host=host)
    monkeypatch.setenv("LASER_API_KEY", ALICE)
    assert worker_settings(host=host).keys


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert is_loopback(host)
    assert worker_settings(host=host).keys == ()


def test_flags_win_and_keys_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASER_PORT", "9000")
    monkeypatch.setenv("LASER_API_KEYS", f" {ALICE} , ")
    monkeypatch.setenv("LASER_API_KEY", BOB)
    chosen = worker_settings(port=9001, host=None)
    assert (chosen.port, chosen.host) == (9001, "127.0.0.1")
    assert [key.get_secret_value() for key in chosen.keys] == [ALICE, BOB]


def test_the_metrics_key_is_none_of_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASER_API_KEYS", f"{ALICE},{BOB}")
    monkeypatch.setenv("LASER_METRICS_KEY", BOB)
    with pytest.raises(Misconfigured, match=r"^LASER_METRICS_KEY must be none of LASER_API_KEYS"):
        worker_settings()


@pytest.mark.enable_socket
def test_check_shows_everything_but_the_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LASER_API_KEYS", f"{ALICE},{BOB}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # or the check would set torch's threads
    monkeypatch.setenv("LASER_METRICS_KEY", OPERATOR)
    flags = ["--host", "0.0.0.0", "--port", "0", "--max-queued", "7"]
    assert cli.run(["serve", "--check", *flags]) == 0
    out = capsys.readouterr().out
    shown = json.loads(out)
    assert (shown["host"], shown["max_queued"], shown["n_api_keys"]) == ("0.0.0.0", 7, 2)
    assert shown["metrics_key"] is True
    for key in (ALICE, BOB, OPERATOR):
        assert key not in out
        assert key not in repr(worker_settings())


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("check", [(), ("--check",)])
def test_a_port_that_is_taken_is_said_in_a_sentence(
    check: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.run(["serve", "--port", str(taken.getsockname()[1]), *check]) == 2
    assert "laser-tools: LASER_HOST and LASER_PORT" in capsys.readouterr().err


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--model", "missing-model"), "There is no model 'missing-model'"),
        (("--device", "moon"), "LASER_DEVICE (--device) must be"),
    ],
)
def test_check_refuses_what_could_not_be_served(
    flags: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cli.run(["serve", "--check", "--port", "0", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err


def test_a_setting_without_a_flag_is_named_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASER_HEARTBEAT_S", "0.0001")
    with pytest.raises(Misconfigured, match=r"^LASER_HEARTBEAT_S must be a number of seconds from"):
        worker_settings(port=None)
    monkeypatch.delenv("LASER_HEARTBEAT_S")
    with pytest.raises(Misconfigured, match=r"^LASER_PORT \(--port\) must be"):
        worker_settings(port=-1)


def test_an_empty_device_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASER_DEVICE", "")
    assert worker_settings().device is None


def test_check_refuses_an_install_without_the_engine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.console.EXTRAS, "engine", ("no_such_module",))
    assert cli.run(["serve", "--check"]) == 2
    assert "pip install 'laser-tools[engine,server]'" in capsys.readouterr().err


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.run(["serve", "--check"]) == 2
    with pytest.raises(MissingExtra, match=r"laser-tools\[server\]"):
        cli.console.require("Serving a model", "server")
