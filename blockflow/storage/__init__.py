"""Arrays: opened, created and described; the lattice that they share; commits that can be listened to."""

from blockflow.storage.array import Array, on_commit
from blockflow.storage.lattice import Lattice
from blockflow.storage.metadata import VolumeMetadata
from blockflow.storage.opening import (
    LocalArrayIdentifier,
    array_stamp,
    generation,
    open_array,
    open_from_identifier,
    planned_arrays,
    use_lattice,
)
from blockflow.storage.spec import ArraySpec, spec_like

__all__ = [
    "Array",
    "ArraySpec",
    "Lattice",
    "LocalArrayIdentifier",
    "VolumeMetadata",
    "array_stamp",
    "generation",
    "on_commit",
    "open_array",
    "open_from_identifier",
    "planned_arrays",
    "spec_like",
    "use_lattice",
]
