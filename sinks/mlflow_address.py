"""Where the MLflow sink delivers a run, and with whose credentials.

The collector's own, from its environment or its home folder, go to the addresses of its own settings and
environment. At one that only a run named it knocks without any: whoever answers there may be anybody.
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
    """``is_own``: this process's credentials may go there."""

    uri: str
    is_own: bool

    @property
    def shown(self) -> str:
        """The address without the user and password it may hold."""
        return without_credentials(self.uri)

    @property
    def needs_naming(self) -> str:
        """Why a server gets less than it wants, and what to do."""
        return (
            f"{self.shown} is named by the run alone, so nothing of the collector's own goes there: "
            f"name it in the sink's tracking_uri, or in MLFLOW_TRACKING_URI where the collector is started"
        )

    def credentials(self) -> contextlib.AbstractContextManager[None]:
        """Return what a call is to be made in: at an address that is not our own, none are to be found."""
        return contextlib.nullcontext() if self.is_own else own_credentials.put_away(self.uri)

    def check_artifacts(self, where: str) -> None:
        """Raise RefusedForGood where a server that only a run named would have files put elsewhere."""
        if self.is_own or where.partition(":")[0] in _SERVED:
            return
        raise RefusedForGood(f"it keeps files in {where}; {self.needs_naming}")


def address_of(option: str, env: Mapping[str, str], base_dir: Path) -> MlflowAddress:
    """Return where a run goes: as configured, as its training's environment says, as this one's does."""
    own, told = os.environ.get("MLFLOW_TRACKING_URI", ""), env.get("MLFLOW_TRACKING_URI", "")
    if option:
        return MlflowAddress(option, is_own=True)
    if told and not own_credentials.same_address(told, without_credentials(own)):
        scheme, colon, _ = told.partition(":")
        base = scheme.partition("+")[0]
        return MlflowAddress(told, is_own=not colon or base in _SERVERLESS or base in _NAMED_AT_HOME)
    # Told as this one, this one may have a password that the run's has lost.
    return MlflowAddress(own or f"sqlite:///{base_dir / 'mlflow.db'}", is_own=True)
