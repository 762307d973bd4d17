"""An object store that believes no address but one that was signed for what is asked, as AWS S3 does and moto does not.

Signature Version 4 in the query: docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

import boto3

from tests.registry_server.recording_proxy import Proxy, Seen, recording_proxy
from tests.registry_server.s3_server import S3Server

_SIGNATURE = "X-Amz-Signature"
REAL_KEY = "PETAPTER_TEST_S3_SIGNING_KEY_ID"
"""Beside PETAPTER_TEST_S3_ENDPOINT, with PETAPTER_TEST_S3_SIGNING_SECRET: a key of that store that may only write."""


@dataclass(frozen=True)
class StrictStore:
    """Where it is, what a registry over it has in its environment and settings besides, and what it was asked."""

    server: S3Server
    bucket: str
    env: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    proxy: Proxy | None = None

    @property
    def blobs(self) -> str:
        """Its bucket as settings name it."""
        return f"s3://{self.bucket}/lab"


@contextmanager
def strict_store(server: S3Server) -> Iterator[StrictStore]:
    """A proxy before moto that looks at signatures; or the real store by itself, when a key to sign with is given."""
    bucket = server.new_bucket()
    if key := os.environ.get(REAL_KEY):
        _ignore_public_acls(server, bucket)
        pair = {"direct_uploads_key_id": key, "direct_uploads_secret": os.environ["PETAPTER_TEST_S3_SIGNING_SECRET"]}
        yield StrictStore(server, bucket, server.env, pair)
        return
    with recording_proxy(server.endpoint, lambda seen: is_allowed(seen, server.secret)) as proxy:
        yield StrictStore(server, bucket, server.env | {"AWS_ENDPOINT_URL": proxy.url}, proxy=proxy)


def _ignore_public_acls(server: S3Server, bucket: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
    )
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"IgnorePublicAcls": True})


def is_allowed(seen: Seen, secret: str) -> bool:
    """Whether a request has a token of the store, or an address that was signed for it with all its x-amz headers."""
    if "authorization" in seen.headers:
        return True
    query = dict(parse_qsl(urlsplit(seen.path).query, keep_blank_values=True))
    if _SIGNATURE not in query:
        return False
    signed = query["X-Amz-SignedHeaders"].split(";")
    if any(name.startswith("x-amz-") and name not in signed for name in seen.headers):
        return False
    begun = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if datetime.now(UTC) > begun + timedelta(seconds=int(query["X-Amz-Expires"])):
        return False
    return hmac.compare_digest(query.pop(_SIGNATURE), _signature(seen, query, signed, secret))


def _signature(seen: Seen, query: Mapping[str, str], signed: list[str], secret: str) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    canonical = [seen.method, urlsplit(seen.path).path, "&".join(f"{name}={value}" for name, value in pairs)]
    canonical += [*(f"{name}:{seen.headers[name].strip()}" for name in signed), "", ";".join(signed)]
    canonical.append("UNSIGNED-PAYLOAD")
    scope = query["X-Amz-Credential"].partition("/")[2]
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    text = "\n".join([query["X-Amz-Algorithm"], query["X-Amz-Date"], scope, digest])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
