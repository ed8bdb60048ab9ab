"""A stand-in for the platforms that worker nodes run on: ECS's agent, EC2's metadata, Kubernetes.

It answers over HTTP on this machine as their documentation says, and keeps what it was sent.
"""

from __future__ import annotations

import json
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

_IMDS_TOKEN = "a token of the metadata"


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]


@dataclass
class Platform:
    """Answers as the platforms do.

    Attributes:
        notices: what the metadata have, by path behind ``/latest/meta-data/``.
        refuses: answer every request with this status and text instead.
        token: what Kubernetes accepts.
    """

    notices: dict[str, str] = field(default_factory=dict)
    refuses: tuple[int, str] | None = None
    token: str = ""
    asked: list[Asked] = field(default_factory=list)
    certificate: Path | None = None

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, without TLS."""
        return f"http://127.0.0.1:{self.port}"

    def sent(self, method: str) -> list[Any]:
        """The bodies of all requests of a method that had one."""
        return [one.body for one in tuple(self.asked) if one.method == method and one.body]

    def answer(self, asked: Asked) -> tuple[int, str]:
        """What to say to a request."""
        self.asked.append(asked)
        if self.refuses is not None:
            return self.refuses
        if asked.path.startswith("/latest/"):
            return self._metadata(asked)
        if asked.path.startswith("/api/v1/namespaces/"):
            known = asked.headers.get("authorization") == f"Bearer {self.token}"
            return (200, json.dumps(asked.body)) if known else (401, "Unauthorized")
        if asked.path.endswith("/task-protection/v1/state"):
            return 200, json.dumps({"protection": asked.body})
        return 404, ""

    def _metadata(self, asked: Asked) -> tuple[int, str]:
        if asked.path == "/latest/api/token":
            return 200, _IMDS_TOKEN
        if asked.headers.get("x-aws-ec2-metadata-token") != _IMDS_TOKEN:
            return 401, ""
        found = self.notices.get(asked.path.removeprefix("/latest/meta-data/"))
        return (404, "Not Found") if found is None else (200, found)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                sent = self.rfile.read(length)
                body = json.loads(sent) if sent else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, text = platform.answer(Asked(self.command, self.path, body, headers))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_PUT = do_PATCH = _serve  # noqa: N815  (the names that are looked for)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def certificate(directory: Path) -> Path:
    """A key and a certificate of its own for 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "certificate.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


def service_account(directory: Path, certificate: Path, token: str) -> Path:
    """A service account's directory, as a pod has it mounted."""
    account = directory / "serviceaccount"
    account.mkdir()
    (account / "token").write_text(f"{token}\n")
    (account / "namespace").write_text("shop")
    (account / "ca.crt").write_bytes(certificate.read_bytes())
    return account
