"""The base of all models of a config."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Model"]


class Model(BaseModel):
    """A part of a config: nothing but what it knows, of just the type that it says, and never changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
