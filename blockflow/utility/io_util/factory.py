"""The class of fileset that a description is for."""

from pathlib import Path

from blockflow.utility.io_util.blockwiseFileset import BlockwiseFileset
from blockflow.utility.io_util.RESTfulBlockwiseFileset import RESTfulBlockwiseFileset
from blockflow.utility.jsonConfig import SchemaError

__all__ = ["BlockwiseFilesetFactory"]


class BlockwiseFilesetFactory:
    """Opens a fileset of whatever kind its description says."""

    @staticmethod
    def create(descriptionFilePath: str | Path, mode: str = "r") -> BlockwiseFileset:
        """Open a `BlockwiseFileset` or a `RESTfulBlockwiseFileset`.

        Raises
        ------
        SchemaError
            If the description is of neither kind.
        """
        kinds = (BlockwiseFileset, RESTfulBlockwiseFileset)
        reasons = []
        for kind in kinds:
            try:
                return kind(descriptionFilePath, mode)
            except SchemaError as error:
                reasons.append(str(error))
        raise SchemaError("; ".join(reasons)) from None
