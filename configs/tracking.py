"""Where runs are recorded: the MLflow store."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from configs.base import Config

URI_VARIABLE = "MLFLOW_TRACKING_URI"


class TrackingConfig(Config):
    """The MLflow store and the experiment that runs are filed under.

    The environment variable MLFLOW_TRACKING_URI wins over `uri`. Artefacts of a
    local store go to `artifact_location`; a server decides for itself.
    """

    enabled: bool = True
    uri: str = Field(default="sqlite:///mlflow.db", min_length=1)
    experiment: str = Field(default="grandmodel", min_length=1)
    artifact_location: str = Field(default="mlruns", min_length=1)
    flush_seconds: PositiveFloat = 10.0  # metrics are sent in batches, at most this old
    connect_seconds: PositiveFloat = 5.0  # a server that does not answer in time is unreachable
