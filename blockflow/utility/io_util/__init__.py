"""Lazyflow's data formats: filesets of blocks in HDF5 files, and volumes behind a web service."""

from blockflow.utility.io_util.blockwiseFileset import BlockwiseFileset
from blockflow.utility.io_util.factory import BlockwiseFilesetFactory
from blockflow.utility.io_util.RESTfulBlockwiseFileset import RESTfulBlockwiseFileset
from blockflow.utility.io_util.RESTfulVolume import RESTfulVolume

__all__ = ["BlockwiseFileset", "BlockwiseFilesetFactory", "RESTfulBlockwiseFileset", "RESTfulVolume"]
