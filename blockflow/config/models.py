"""What the models of a config are made from: names, paths, regions, shapes."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

__all__ = [
    "NAME_PATTERN",
    "UNION_TAGS",
    "Axes",
    "FilePath",
    "Keyword",
    "Model",
    "Name",
    "RoiConfig",
    "RoiOrAuto",
    "Shape",
    "ShapeOrAuto",
]

#: what tasks and arrays may be called; a task's name is also the name of its folder
NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"

#: parts of a pydantic error's location that are no keys of the config
UNION_TAGS = frozenset({"<auto>", "<roi>", "<shape>", "list[str]", "str"})


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("no_path", "a path cannot contain the character NUL")
    return text


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Keyword = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
FilePath = Annotated[str, StringConstraints(min_length=1), AfterValidator(_no_nul)]
Axes = Field(min_length=1)


class Model(BaseModel):
    """A mapping of a config: unknown keys and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RoiConfig(Model):
    """A region: where it begins and how large it is, in lattice units, one whole number per axis."""

    offset: Annotated[list[int], Axes] = Field(
        description="Where the region begins, in lattice units, in axis order."
    )
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Axes] = Field(
        description="How large the region is, in lattice units, in axis order."
    )

    @model_validator(mode="after")
    def _same_axes(self) -> Self:
        if len(self.offset) != len(self.shape):
            raise PydanticCustomError(
                "axes",
                "offset has {offset} numbers and shape {shape}; give each one per axis",
                {"offset": len(self.offset), "shape": len(self.shape)},
            )
        return self

    def contains(self, other: "RoiConfig") -> bool:
        """Whether `other`, with as many axes, lies within this region."""
        mine = zip(self.offset, self.shape, strict=True)
        theirs = zip(other.offset, other.shape, strict=True)
        return all(
            begin <= inner and inner + inner_size <= begin + size
            for (begin, size), (inner, inner_size) in zip(mine, theirs, strict=True)
        )


def _is_roi(value: Any) -> str:
    return "<auto>" if isinstance(value, str) else "<roi>"


RoiOrAuto = Annotated[
    Annotated[Literal["auto"], Tag("<auto>")] | Annotated[RoiConfig, Tag("<roi>")], Discriminator(_is_roi)
]


def _is_shape(value: Any) -> str:
    return "<auto>" if isinstance(value, str) else "<shape>"


Shape = Annotated[list[Annotated[int, Field(ge=1)]], Axes]
ShapeOrAuto = Annotated[
    Annotated[Literal["auto"], Tag("<auto>")] | Annotated[Shape, Tag("<shape>")], Discriminator(_is_shape)
]
