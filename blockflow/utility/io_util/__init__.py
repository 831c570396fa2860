"""Lazyflow's data formats: filesets of blocks in HDF5 files, and volumes behind a web service."""

from typing import TYPE_CHECKING

from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.utility.io_util.blockwiseFileset import BlockwiseFileset
    from blockflow.utility.io_util.factory import BlockwiseFilesetFactory
    from blockflow.utility.io_util.RESTfulBlockwiseFileset import RESTfulBlockwiseFileset
    from blockflow.utility.io_util.RESTfulVolume import RESTfulVolume

__all__ = ["BlockwiseFileset", "BlockwiseFilesetFactory", "RESTfulBlockwiseFileset", "RESTfulVolume"]

__getattr__ = lazy_names(
    __name__,
    {
        "BlockwiseFileset": "blockflow.utility.io_util.blockwiseFileset",
        "BlockwiseFilesetFactory": "blockflow.utility.io_util.factory",
        "RESTfulBlockwiseFileset": "blockflow.utility.io_util.RESTfulBlockwiseFileset",
        "RESTfulVolume": "blockflow.utility.io_util.RESTfulVolume",
    },
)
