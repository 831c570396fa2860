"""Filesets of blocks and remote volumes as sources of a graph, and as what a graph writes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, OutputSlot, Slot
from blockflow.operators.bases import ArrayOperator, Region
from blockflow.operators.parameters import Parameter, number, or_none, text
from blockflow.rtype import Everything, SubRegion
from blockflow.storage import VolumeMetadata
from blockflow.storage.filesets import open_described
from blockflow.stype import Opaque
from blockflow.utility import BigRequestStreamer, OrderedSignal
from blockflow.utility.io_util import BlockwiseFileset
from blockflow.utility.io_util.block_file import BlockNotReadyError

__all__ = [
    "OpBlockwiseFilesetReader",
    "OpBlockwiseFilesetWriter",
    "OpRESTfulBlockwiseFilesetReader",
    "OpRESTfulVolumeReader",
]

Array = np.ndarray[Any, Any]


class _Reader(ArrayOperator):
    """What a description file describes, as an output."""

    DescriptionFilePath = Parameter(check=text, doc="path of the JSON file that describes the data")

    _data: Any = None

    def describe(self) -> MetaDict:
        """As the description says, with the axes' names; blocks are what suits it."""
        path = self.DescriptionFilePath.value
        self._data = data = open_described(path, "r")
        self._check(path)
        meta = MetaDict(shape=data.shape, dtype=data.dtype.type, ideal_blockshape=data.chunks)
        attributes = data.attrs.asdict()
        meta.axistags = "".join(name.removesuffix("^")[0] for name in attributes["axis_names"])
        meta.update(VolumeMetadata.parse(attributes, len(data.shape), path).slot_meta())
        return meta

    def _check(self, path: str) -> None:
        """Refuse what another operator reads."""

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """Nothing: it reads files."""
        return {}

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region | None:
        """It has no data inputs."""
        return None

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> Any:
        """Read it."""
        return self._data[roi.toSlice()]


class OpBlockwiseFilesetReader(_Reader):
    """Reads a fileset of blocks. A block that is not available is an error, or reads as `FillValue` if there is one.

    A fileset of a remote volume downloads the blocks that it does not have.
    """

    FillValue = Parameter(
        check=or_none(number), optional=True, doc="what voxels of blocks that are not available are"
    )

    def _check(self, path: str) -> None:
        if not hasattr(self._data, "fileset"):
            raise OperatorError(f"{path} describes a remote volume; read it with RESTfulVolumeReader")

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> Any:
        """Read it, block by block where blocks may be missing."""
        fileset = self._data.fileset
        bounds = tuple(roi.start), tuple(roi.stop)
        fill = self.FillValue.value
        if fill is None:
            return fileset.readData(bounds, result)
        for start, stop in fileset.layout.parts(bounds):
            part = result[
                tuple(slice(a - low, b - low) for a, b, low in zip(start, stop, roi.start, strict=True))
            ]
            try:
                part[...] = fileset.readData((start, stop))
            except BlockNotReadyError:
                part[...] = fill
        return result


class OpRESTfulBlockwiseFilesetReader(OpBlockwiseFilesetReader):
    """Reads a remote volume through a local fileset, which keeps what was downloaded."""


class OpRESTfulVolumeReader(_Reader):
    """Reads a remote volume; each request downloads its region anew."""

    def _check(self, path: str) -> None:
        if hasattr(self._data, "fileset"):
            raise OperatorError(f"{path} describes a fileset; read it with BlockwiseFilesetReader")


class OpBlockwiseFilesetWriter(ArrayOperator):
    """Writes its input to a fileset that a description file describes, when `Output` is asked for.

    `Output` is True when all blocks of the view are written and published: `op.Output.value`. One block is computed at
    one time for each worker of the thread pool, and published when it is written. Blocks are written
    again each time; until then they keep what they have.

    Attributes
    ----------
    progressSignal : OrderedSignal
        Called as `callback(percent)`.
    """

    Input = InputSlot()
    DescriptionFilePath = Parameter(check=text, doc="path of the JSON file that describes the fileset")
    Output = OutputSlot(stype=Opaque, rtype=Everything)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.progressSignal = OrderedSignal()

    def describe(self) -> MetaDict:
        """One value. OperatorError if the input has another shape or dtype than the fileset."""
        path = self.DescriptionFilePath.value
        fileset = BlockwiseFileset(path)
        shape, dtype = fileset.layout.view_shape, fileset.description.dtype
        if self.Input.meta.shape != shape or np.dtype(self.Input.meta.dtype) != dtype:
            raise OperatorError(
                f"{path} has {shape} voxels of {dtype}, {self.Input.path} has {self.Input.meta.shape} of "
                f"{np.dtype(self.Input.meta.dtype)}"
            )
        return MetaDict(shape=(1,), dtype=object)

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region | None:
        """It has no regions."""
        return None

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """All is to be written again."""
        self.Output.setDirty()

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any) -> bool:
        """Write all blocks."""
        with BlockwiseFileset(self.DescriptionFilePath.value, "a") as fileset:
            layout = fileset.layout

            def write(region: Any, voxels: Array) -> None:
                fileset.writeData(region, voxels)
                fileset.setBlockStatus(layout.block_of(region[0]), fileset.BLOCK_AVAILABLE)

            streamer = BigRequestStreamer(
                self.Input, layout.view, layout.block_shape, allowParallelResults=True
            )
            streamer.resultSignal.subscribe(write)
            streamer.progressSignal.subscribe(self.progressSignal)
            streamer.execute()
        return True
