"""Arrays and block results: opened, created and described; their lattice; commits that can be listened to."""

from typing import TYPE_CHECKING

from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.storage.array import Array
    from blockflow.storage.commits import on_commit
    from blockflow.storage.lattice import Lattice
    from blockflow.storage.metadata import VolumeMetadata
    from blockflow.storage.opening import (
        LocalArrayIdentifier,
        array_stamp,
        claim,
        note_session,
        open_array,
        open_from_identifier,
        open_stored,
        planned_arrays,
        use_lattice,
    )
    from blockflow.storage.results import BlockResults, ResultsSpec, open_results
    from blockflow.storage.spec import ArraySpec, spec_like

__all__ = [
    "Array",
    "ArraySpec",
    "BlockResults",
    "Lattice",
    "LocalArrayIdentifier",
    "ResultsSpec",
    "VolumeMetadata",
    "array_stamp",
    "claim",
    "note_session",
    "on_commit",
    "open_array",
    "open_from_identifier",
    "open_results",
    "open_stored",
    "planned_arrays",
    "spec_like",
    "use_lattice",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Array": "blockflow.storage.array",
        "ArraySpec": "blockflow.storage.spec",
        "BlockResults": "blockflow.storage.results",
        "Lattice": "blockflow.storage.lattice",
        "LocalArrayIdentifier": "blockflow.storage.opening",
        "ResultsSpec": "blockflow.storage.results",
        "VolumeMetadata": "blockflow.storage.metadata",
        "array_stamp": "blockflow.storage.opening",
        "claim": "blockflow.storage.opening",
        "note_session": "blockflow.storage.opening",
        "on_commit": "blockflow.storage.commits",
        "open_array": "blockflow.storage.opening",
        "open_from_identifier": "blockflow.storage.opening",
        "open_results": "blockflow.storage.results",
        "open_stored": "blockflow.storage.opening",
        "planned_arrays": "blockflow.storage.opening",
        "spec_like": "blockflow.storage.spec",
        "use_lattice": "blockflow.storage.opening",
    },
)
