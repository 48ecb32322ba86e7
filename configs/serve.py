"""The service over the cascade: where it listens, what it works, and how much it takes on."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from configs.bars import BarsConfig
from configs.base import Config
from configs.cascade import MAX_SEED, CascadeConfig, CascadeRunConfig

LOOPBACK = "127.0.0.1"
TOKEN_VARIABLE = "GRANDMODEL_TOKEN"
LEAST_TOKEN = 16  # characters: shorter ones are guessed
_LAST_PORT = 65_535
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # names a folder of the log too

Port = Annotated[int, Field(ge=0, le=_LAST_PORT)]


class InstrumentConfig(Config):
    """One instrument, worked on paper: bars drive it, simulated books fill what is sent."""

    name: str = Field("paper", pattern=_NAME)
    seed: NonNegativeInt = Field(0, le=MAX_SEED)
    bars: BarsConfig | None = Field(
        None, description="a file of bars; the built-in market's where null"
    )
    generated_bars: PositiveInt = Field(
        8_000, ge=2_000, description="of the tactical length, on the built-in market"
    )
    generated_seed: NonNegativeInt = Field(1, le=MAX_SEED)

    def run(self, cascade: CascadeConfig) -> CascadeRunConfig:
        """What `cascade run` knows it by; the instrument's seed is added to the cascade's."""
        return CascadeRunConfig(
            cascade=cascade.model_copy(update={"seed": cascade.seed + self.seed}),
            bars=self.bars,
            generated_bars=self.generated_bars,
            generated_seed=self.generated_seed,
        )


class ServeLimitsConfig(Config):
    """How much a worker takes on before it says no."""

    url_bytes: PositiveInt = Field(2_048, description="of a request's path and query; 414 beyond")
    head_bytes: PositiveInt = Field(
        16_384, description="of a request besides its body; 431 beyond, and the connection ends"
    )
    head_seconds: PositiveFloat = Field(
        10.0, description="in which a connection must have sent a whole head; it is closed beyond"
    )
    body_bytes: PositiveInt = Field(16_384, le=1 << 20, description="of a request; 413 beyond")
    body_seconds: PositiveFloat = Field(5.0, description="for a request's body; 408 beyond")
    rate: PositiveFloat = Field(20_000.0, description="requests a second of one client; 429 beyond")
    burst: PositiveInt = Field(2_000, description="requests that a client may save up")
    queue: PositiveInt = Field(64, description="decisions that wait at once; 503 beyond")
    connections: PositiveInt = Field(1_024, description="open at once; 503 beyond")
    client_connections: PositiveInt = Field(
        256, description="open at once from one address, a proxy's too; 429 beyond"
    )
    listeners: PositiveInt = Field(16, description="of /events at once")
    backlog: PositiveInt = Field(
        4_096, description="records that wait for one listener; it is sent away beyond"
    )


class ServeConfig(Config):
    """The whole service. Worker k listens on port + k and works every N-th instrument."""

    host: str = Field(LOOPBACK, min_length=1, description="any other than loopback needs a token")
    port: Port = Field(8_000, description="of the first worker; 0 takes free ones")
    workers: PositiveInt = Field(1, le=256, description="processes")
    instruments: tuple[InstrumentConfig, ...] = (InstrumentConfig(),)
    cascade: CascadeConfig = CascadeConfig()
    limits: ServeLimitsConfig = ServeLimitsConfig()
    drain_seconds: PositiveFloat = Field(
        5.0, description="for requests that are being answered when the service ends"
    )

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        names = [instrument.name for instrument in self.instruments]
        if not names:
            raise ValueError("no instruments: expected at least one, such as [{name: paper}]")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"instruments named twice: {', '.join(twice)}; give each its own name")
        if (most := max(one.seed for one in self.instruments)) > MAX_SEED - self.cascade.seed:
            raise ValueError(
                f"cascade.seed {self.cascade.seed} + an instrument's seed {most}: expected at most "
                f"{MAX_SEED} together; take smaller ones"
            )
        if self.workers > len(names):
            raise ValueError(
                f"workers is {self.workers} and there are {len(names)} instruments: each is worked "
                "by one process; expected at most as many workers as instruments"
            )
        if self.port and self.port + self.workers - 1 > _LAST_PORT:
            raise ValueError(f"port {self.port} + {self.workers} workers goes beyond {_LAST_PORT}")
        return self
