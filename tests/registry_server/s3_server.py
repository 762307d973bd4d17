"""An S3 server for tests: moto in a process of its own, or the one that PETAPTER_TEST_S3_ENDPOINT names."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import httpx
from obstore.store import S3Store

START_S = 60


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and what it takes as credentials."""

    endpoint: str
    region: str
    key: str
    secret: str

    @property
    def env(self) -> dict[str, str]:
        """What a registry needs in its environment to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ALLOW_HTTP": "true",
        }

    def new_bucket(self) -> str:
        """The name of a fresh bucket."""
        name = f"test-{secrets.token_hex(8)}"
        boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        ).create_bucket(Bucket=name)
        return name

    def open(self, bucket: str, prefix: str | None = None) -> S3Store:
        """A bucket as obstore sees it."""
        return S3Store(
            bucket,
            prefix=prefix,
            endpoint=self.endpoint,
            region=self.region,
            access_key_id=self.key,
            secret_access_key=self.secret,
            client_options={"allow_http": True},
        )


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server that answers, gone at the end when it was started here."""
    if endpoint := os.environ.get("PETAPTER_TEST_S3_ENDPOINT"):
        env = os.environ
        yield S3Server(endpoint, env["AWS_REGION"], env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(endpoint, process)
        yield S3Server(endpoint, "us-east-1", "test", "test-secret")
    finally:
        process.kill()
        process.wait()


def _wait_for(endpoint: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{endpoint}/moto-api/")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("moto did not start")
