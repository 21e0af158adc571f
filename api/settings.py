"""Settings: read from the environment once, here and nowhere else."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

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
    folders: Annotated[tuple[Path, ...] | None, NoDecode] = None
    """Server folders that may be indexed over HTTP, with all below them; unset, any where only this machine can ask."""
    hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names of this service besides addresses and localhost, where it listens on this machine only (a proxy's)."""
    uploads_bytes: int = Field(default=20 << 30, ge=0)
    """How large the pictures that galleries were sent may be together."""
    sent_bytes: int = Field(default=256 << 20, ge=0)
    sent_pictures: int = Field(default=2000, gt=0)
    """How many pictures that were sent to search by are kept, and how large they may be together."""
    search_queue: int = Field(default=512, gt=0)
    """First-stage queries that may wait; more get 429."""
    rerank_queue: int = Field(default=32, gt=0)
    """Reranked queries, lookups and questions that may wait; more get 429."""

    @field_validator("home")
    @classmethod
    def _expand(cls, home: Path) -> Path:
        return home.expanduser()

    @field_validator("folders", mode="before")
    @classmethod
    def _split_folders(cls, folders: object) -> object:
        if not isinstance(folders, str):
            return folders
        return tuple(Path(one).expanduser().absolute() for one in folders.split(os.pathsep) if one)

    @field_validator("hosts", mode="before")
    @classmethod
    def _split_hosts(cls, hosts: object) -> object:
        return tuple(hosts.lower().replace(",", " ").split()) if isinstance(hosts, str) else hosts

    @property
    def is_local(self) -> bool:
        """Whether only this machine can ask: the service listens on a loopback address."""
        return is_loopback(self.host)

    @property
    def allowed_folders(self) -> tuple[Path, ...]:
        """The folders below which a stranger may name one to be indexed."""
        if self.folders is not None:
            return self.folders
        return (Path("/"),) if self.is_local else ()

    @property
    def database(self) -> str:
        """The address of the database."""
        return self.database_url or f"sqlite:///{self.home / 'sightline.db'}"


def is_loopback(host: str) -> bool:
    """Say whether a name or address, without brackets, means this machine and nothing else."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings() -> Settings:
    """Read the environment; a value that cannot be is named with its variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = f"SIGHTLINE_{'_'.join(map(str, first['loc'])).upper()}"
        raise UsageError(variable, f"{variable} is {first['input']!r}: {first['msg'].lower()}") from error
