"""Decides to which address the MLflow sink delivers a run, and with which credentials.

The collector's own credentials, from its environment or its home folder, go only to the addresses in its own
settings and environment. A request to an address that only a run names has none: anybody may answer there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neural.tracking.errors import RefusedForGood
from neural.tracking.sink_state.config import without_credentials
from neural.tracking.sinks import own_credentials

_SERVERLESS = ("sqlite", "file")
_NAMED_AT_HOME = ("databricks", "databricks-uc", "uc")  # by the owner's ~/.databrickscfg
_SERVED = ("mlflow-artifacts", "http", "https")


class MlflowAddress(NamedTuple):
    """An address for a run; ``is_own``: requests to it may carry this process's credentials."""

    uri: str
    is_own: bool

    @property
    def shown(self) -> str:
        """The address without user and password."""
        return without_credentials(self.uri)

    @property
    def needs_naming(self) -> str:
        """The explanation for an error: why requests had no credentials, and what to do."""
        return (
            f"{self.shown} is named by the run alone, so the collector's credentials are not sent there: "
            f"name it in the sink's tracking_uri, or in MLFLOW_TRACKING_URI where the collector is started"
        )

    def credentials(self) -> contextlib.AbstractContextManager[None]:
        """Return the context for a call: inside it, an address that is not our own gets no credentials."""
        return contextlib.nullcontext() if self.is_own else own_credentials.hidden_from(self.uri)

    def check_artifacts(self, where: str) -> None:
        """Raise RefusedForGood if a server that only a run names wants files elsewhere, at ``where``."""
        if self.is_own or where.partition(":")[0] in _SERVED:
            return
        raise RefusedForGood(f"the server stores files in {where}; {self.needs_naming}")


def address_of(option: str, env: Mapping[str, str], base_dir: Path) -> MlflowAddress:
    """Return the address for a run: ``option``, else the one in ``env``, else the one in this environment.

    If all are empty, it is a database in ``base_dir``.
    """
    own, named = os.environ.get("MLFLOW_TRACKING_URI", ""), env.get("MLFLOW_TRACKING_URI", "")
    if option:
        return MlflowAddress(option, is_own=True)
    if named and not own_credentials.same_address(named, without_credentials(own)):
        scheme, colon, _ = named.partition(":")
        base = scheme.partition("+")[0]
        return MlflowAddress(named, is_own=not colon or base in _SERVERLESS or base in _NAMED_AT_HOME)
    # If both are the same, use our own: it may have a password that was removed from the run's.
    return MlflowAddress(own or f"sqlite:///{base_dir / 'mlflow.db'}", is_own=True)
