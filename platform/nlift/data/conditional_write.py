"""Objects that several change: who writes one says what it was before, so that nobody's change is lost."""

import fcntl
import random
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nlift import progress
from nlift.data import remote, transfer
from nlift.errors import ConfigError, ResourceError, first_line

TRIES = 50
Change = Callable[[bytes | None], bytes]
REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def changed(uri: str, change: Change) -> None:
    """Replace what a URI holds by what `change` makes of it; None is nothing.

    Where somebody else was quicker, it is called again with what he wrote. On S3 the store itself compares; on a
    `file://` a lock keeps others out; other stores take no condition, which is said. Raises ResourceError.
    """
    scheme = urlsplit(uri).scheme
    if scheme == "s3":
        _changed_on_s3(uri, change)
    elif scheme == "file":
        _changed_locally(uri, change)
    else:
        progress.notice(f"{uri}: {scheme}:// is written to without a condition; let one process at a time change it")
        transfer.write(uri, change(transfer.read(uri)))


def is_possible(uri: str) -> bool:
    """Whether a store takes conditions, and what this needs is installed."""
    return urlsplit(uri).scheme == "file" or (urlsplit(uri).scheme == "s3" and find_spec("boto3") is not None)


def check(uri: str) -> None:
    """Raise ConfigError where what this needs is not installed."""
    if urlsplit(uri).scheme == "s3" and not is_possible(uri):
        raise ConfigError(f"{uri}: names of bundles on S3 need boto3, which is not installed; pip install 'nlift[s3]'")


def _changed_on_s3(uri: str, change: Change) -> None:
    check(uri)
    from botocore.exceptions import BotoCoreError, ClientError

    parts = urlsplit(uri)
    at = {"Bucket": parts.netloc, "Key": unquote(parts.path.lstrip("/"))}
    try:
        for _ in range(TRIES):
            before, tag = _read(at)
            condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
            try:
                _client().put_object(**at, **condition, Body=change(before))
                return
            except ClientError as error:
                if error.response["Error"]["Code"] not in REFUSED:
                    raise
            time.sleep(random.uniform(0.01, 0.2))
    except (BotoCoreError, ClientError) as error:
        raise ResourceError(f"{uri}: cannot be changed ({first_line(error)}); run again") from None
    raise ResourceError(f"{uri}: others changed it {TRIES} times meanwhile; run again")


def _read(at: dict[str, str]) -> tuple[bytes | None, str | None]:
    """An object's content and tag."""
    from botocore.exceptions import ClientError

    try:
        answer = _client().get_object(**at)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None, None
        raise
    return answer["Body"].read(), answer["ETag"]


@lru_cache(maxsize=1)
def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))


def _changed_locally(uri: str, change: Change) -> None:
    _, path = remote.filesystem(uri)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        transfer.write(uri, change(transfer.read(uri)))
