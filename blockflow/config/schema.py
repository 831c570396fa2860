"""What a config may say, as pydantic models: the border between YAML and everything else."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from blockflow.config.compute_schema import Amount, ComputeConfig
from blockflow.config.models import (
    FilePath,
    Keyword,
    Model,
    Name,
    RoiConfig,
    RoiOrAuto,
    Shape,
    ShapeOrAuto,
)

__all__ = [
    "ArrayConfig",
    "Config",
    "OperatorConfig",
    "OutputConfig",
    "SegmentationConfig",
    "TaskConfig",
    "json_schema",
]


class ArrayConfig(Model):
    """An array that is there before the run."""

    path: FilePath = Field(
        description="The folder of a zarr array, FILE.h5/DATASET, the .json description of a fileset or remote volume, "
        "or a .npy file; a relative path counts from the config file."
    )


class TaskConfig(Model):
    """A worker file and the blocks that it does."""

    worker_file: FilePath = Field(
        description="The name of a bundled worker file, or the path of one, from the config file on."
    )
    write_roi: RoiConfig = Field(description="What one block writes.")
    read_roi: RoiConfig | None = Field(
        default=None, description="What one block reads; it contains write_roi. By default it is write_roi."
    )
    total_roi: RoiOrAuto = Field(
        default="auto",
        description="What the task covers, context included. 'auto': what its output covers, grown by "
        "the context.",
    )
    inputs: dict[Keyword, str] = Field(
        default_factory=dict,
        description="Keyword argument of the worker file -> what it reads: the name of an array, a task "
        "output as TASK.OUTPUT, or a task's name for its only output. The worker file gets the path.",
    )
    outputs: dict[Keyword, FilePath] = Field(
        default_factory=dict,
        description="Keyword argument of the worker file -> the path that it writes, which counts from the "
        "config file.",
    )
    fit: Literal["valid", "overhang", "shrink"] | None = Field(
        default=None,
        description="What to do where blocks do not tile the total ROI. By default what the worker "
        "file says.",
    )
    read_write_conflict: bool | None = Field(
        default=None,
        description="Whether a block that reads where another writes must wait. By default what the worker "
        "file says.",
    )
    num_workers: int | None = Field(
        default=None,
        ge=1,
        description="The most workers of this task at one time; by default all of compute's.",
    )
    max_retries: int = Field(default=2, ge=0, description="Attempts at a block beyond the first.")
    timeout: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Seconds that a block may take; null: any time."
    )
    memory: Amount = Field(
        default=None,
        description="What a worker of this task holds; asked for, with a margin, where compute.memory is 'auto'.",
    )
    upstream: list[str] = Field(
        default_factory=list, description="Tasks to wait for, beyond those that inputs already name."
    )
    args: dict[Keyword, Any] = Field(
        default_factory=dict, description="Further keyword arguments of the worker file, as they stand here."
    )

    @field_validator("read_roi", "total_roi", mode="after")
    @classmethod
    def _fits_write_roi(cls, roi: Any, info: ValidationInfo) -> Any:
        write_roi = info.data.get("write_roi")
        if not isinstance(roi, RoiConfig) or write_roi is None:
            return roi
        if len(roi.shape) != len(write_roi.shape):
            raise PydanticCustomError(
                "axes",
                "has {count} axes, but write_roi has {expected}; give both the same number",
                {"count": len(roi.shape), "expected": len(write_roi.shape)},
            )
        if info.field_name == "read_roi" and not roi.contains(write_roi):
            raise PydanticCustomError(
                "outside",
                "must contain write_roi (offset {offset}, shape {shape}); grow it, or shrink write_roi",
                {"offset": str(write_roi.offset), "shape": str(write_roi.shape)},
            )
        return roi


class OperatorConfig(Model):
    """A lazy operator of the graph."""

    type: FilePath = Field(
        description="A ready-made operator, as `blockflow operators` lists them; or package.module:Class; or "
        "path/to/file.py:Class, from the config file on."
    )
    inputs: dict[Keyword, str | list[str]] = Field(
        default_factory=dict,
        description="Input -> where its data come from: the name of an array, a task's output as TASK.OUTPUT, an "
        "operator (its only output) or OPERATOR.SLOT; a list of these where the operator takes many.",
    )
    params: dict[Keyword, Any] = Field(default_factory=dict, description="Parameter -> its value.")


class OutputConfig(Model):
    """A slot of the graph that is stored."""

    slot: FilePath = Field(description="An operator (its only output), or OPERATOR.SLOT.")
    path: FilePath = Field(
        description="The folder of the zarr array, or the .json file of a fileset, from the config file on; created."
    )
    chunks: Shape | None = Field(
        default=None, description="In voxels, one number per axis. By default those of the input."
    )
    shards: Shape | None = Field(
        default=None, description="In voxels, a multiple of chunks; zarr v3 only. By default none."
    )
    block_shape: ShapeOrAuto = Field(
        default="auto", description="What one block writes, in voxels; 'auto': the planner's choice."
    )
    fit: Literal["valid", "overhang", "shrink"] = Field(
        default="shrink", description="What to do where blocks do not tile the array."
    )
    compressor: FilePath = Field(
        default="auto",
        description="zstd, gzip, blosc or none; with a level as zstd:5. 'auto': zstd, or none for filesets.",
    )
    fill_value: float = Field(default=0, description="What voxels read as that were not written.")
    zarr_format: Literal[2, 3] = Field(default=3, description="The version of zarr's format.")
    num_workers: int | None = Field(
        default=None,
        ge=1,
        description="The most workers of this output at one time; by default all of compute's.",
    )
    max_retries: int = Field(default=2, ge=0, description="Attempts at a block beyond the first.")
    timeout: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Seconds that a block may take; null: any time."
    )


def _stitch(given: Any) -> Any:
    from blockflow.errors import LabelError
    from blockflow.labels import Stitch

    if given is not None:
        try:
            Stitch.of(given)
        except LabelError as error:
            raise PydanticCustomError(
                "no_stitch", "{reason}", {"reason": str(error).removeprefix("stitch: ")}
            ) from None
    return given


class SegmentationConfig(Model):
    """A function that labels block by block, and the rule by which labels of blocks become one."""

    function_file: FilePath = Field(
        description="The file with segment_function, from the config file on; or the name of a bundled one, "
        "'connected_components'."
    )
    input: str = Field(
        description="What is segmented: the name of an array, of an output or of a segmentation, or a task output as "
        "TASK.OUTPUT."
    )
    output: FilePath = Field(description="The zarr array of the labels, from the config file on; created.")
    block_shape: Shape = Field(
        description="What one block writes, in voxels, one number per axis of space or time."
    )
    context: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        description="What a block reads around that on each side, in voxels, one number per axis. By default nothing.",
    )
    stitch: Annotated[Any, AfterValidator(_stitch)] = Field(
        default=None,
        description="'touching', 'overlap' or 'none'; or a mapping with 'rule' and what else it takes: 'connectivity' "
        "and 'equal' (touching), 'measure' and 'threshold' (overlap). By default what the file says, or touching.",
    )
    parameters: dict[Keyword, Any] = Field(
        default_factory=dict, description="Of the function, in the place of the file's default_parameters."
    )
    recompute: bool | None = Field(
        default=None,
        description="Whether labels of blocks are computed twice rather than stored, which needs a function that "
        "always gives the same. By default what the file says, or no.",
    )
    dtype: Literal["uint64", "uint32"] = Field(default="uint64", description="The type of the labels.")
    chunks: Shape | None = Field(
        default=None,
        description="In voxels, one number per axis. By default those of the input where they divide the blocks.",
    )
    shards: Shape | None = Field(
        default=None, description="In voxels, a multiple of chunks. By default none."
    )
    compressor: str = Field(default="zstd", description="zstd, gzip, blosc or none; with a level as zstd:5.")
    fit: Literal["valid", "overhang", "shrink"] | None = Field(
        default=None,
        description="What to do where blocks do not tile the array. By default shrink, or what a worker file says.",
    )
    num_workers: int | None = Field(
        default=None, ge=1, description="The most workers at one time; by default all of compute's."
    )
    max_retries: int = Field(default=2, ge=0, description="Attempts at a block beyond the first.")
    timeout: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Seconds that a block may take; null: any time."
    )
    upstream: list[str] = Field(
        default_factory=list, description="Tasks and outputs to wait for, beyond what the input names."
    )


class Config(Model):
    """A run of blockflow: its arrays, its graph, its tasks, and where they run."""

    name: Name | None = Field(
        default=None,
        description="What the run is called. By default the config file's name without its ending.",
    )
    run_dir: FilePath | None = Field(
        default=None,
        description="The folder for all that the run leaves behind but its arrays; it counts from the config "
        "file. By default blockflow_runs/NAME.",
    )
    compute: ComputeConfig = Field(
        default_factory=ComputeConfig, description="Where workers run: the only part that differs by machine."
    )
    arrays: dict[Name, ArrayConfig] = Field(
        default_factory=dict,
        description="Arrays to read, by name. Tasks and operators cannot have the same names.",
    )
    operators: dict[Name, OperatorConfig] = Field(
        default_factory=dict,
        description="The graph: lazy operators, by name. Nothing is stored unless an output asks.",
    )
    outputs: dict[Name, OutputConfig] = Field(
        default_factory=dict, description="What is stored of the graph, by name."
    )
    tasks: dict[Name, TaskConfig] = Field(
        default_factory=dict,
        description="Worker files over blocks, by name: before, after or beside the graph.",
    )
    segmentations: dict[Name, SegmentationConfig] = Field(
        default_factory=dict,
        description="Functions that label block by block, by name; what belongs together becomes one.",
    )

    @model_validator(mode="after")
    def _has_work(self) -> Self:
        if not (self.tasks or self.outputs or self.segmentations):
            raise PydanticCustomError(
                "no_work", "there is nothing to do: add at least one task, output or segmentation"
            )
        return self


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a config, for editors that check and complete YAML."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
