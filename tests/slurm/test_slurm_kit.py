"""The Slurm contexts pass the kit that `local` passes, against a real Slurm whose nodes have networks of their own."""

import pytest

from blockflow.compute import SlurmContext
from blockflow.testing.compute import ComputeContextTests


class TestSlurmContext(ComputeContextTests):
    host = "10.77.0.1"

    @pytest.fixture
    def context(self, cluster, tmp_path):
        context = SlurmContext(200_000_000)
        yield context
        context.close()
