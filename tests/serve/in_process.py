"""The routes answered in this process, without Ray."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from nlift_serve import app
from nlift_serve.answering import Answering
from nlift_serve.app import answering, api, query_log


class Fixed:
    """A version that no alias moves."""

    refused = None

    def __init__(self, bundle):
        self.current = bundle


@contextmanager
def answered(bundle, limits):
    """Let the routes answer from a bundle until the block ends."""
    with ThreadPoolExecutor(1) as executor, pytest.MonkeyPatch.context() as patch:
        held = Answering(Fixed(bundle), limits, executor)
        api.dependency_overrides |= {answering: lambda: held, query_log: lambda: None}
        patch.setattr(app, "answering", lambda: held)  # which the limits of a body ask, outside of a route
        yield held
    api.dependency_overrides.clear()
