"""Settings: read from the environment once, here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.errors import UsageError


class Settings(BaseSettings):
    """Everything that can be set, each as SIGHTLINE_<NAME> in the environment."""

    model_config = SettingsConfigDict(env_prefix="SIGHTLINE_", extra="ignore", env_ignore_empty=True)

    home: Path = Field(default_factory=lambda: user_data_path("sightline"))
    """Where the database, the vectors and the thumbnails lie."""
    database_url: str | None = None
    """Any SQLAlchemy address; a SQLite file in `home` when unset."""
    model: str | None = None
    """The model of new galleries: a name, a Hugging Face id or a folder."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What models run on; auto takes a GPU where there is one."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What models compute in on a GPU; on a CPU it is float32. A gallery keeps the one that it was made with."""
    offline: bool = False
    """Never ask the network for weights."""
    pixel_limit: int = Field(default=100_000_000, gt=0)
    """Pictures of more pixels are not decoded."""
    token_cache_bytes: int = Field(default=512 << 20, ge=0)
    """RAM for image tokens that reranking has read before."""
    decode_threads: int = Field(default=2, gt=0)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    upload_bytes: int = Field(default=20 << 20, gt=0)
    """The largest request body."""
    search_queue: int = Field(default=512, gt=0)
    """First-stage queries that may wait; more get 429."""
    rerank_queue: int = Field(default=32, gt=0)
    """Reranked queries, lookups and questions that may wait; more get 429."""

    @field_validator("home")
    @classmethod
    def _expand(cls, home: Path) -> Path:
        return home.expanduser()

    @property
    def database(self) -> str:
        """The address of the database."""
        return self.database_url or f"sqlite:///{self.home / 'sightline.db'}"


def read_settings() -> Settings:
    """Read the environment; a value that cannot be is named with its variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = f"SIGHTLINE_{'_'.join(map(str, first['loc'])).upper()}"
        raise UsageError(variable, f"{variable} is {first['input']!r}: {first['msg'].lower()}") from error
