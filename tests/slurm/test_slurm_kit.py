"""The Slurm contexts pass the kit that `local` passes, against a real Slurm whose nodes have networks of their own."""

import os

import pytest

from blockflow.compute import SlurmContext, SrunContext
from blockflow.testing.compute import ComputeContextTests


class TestSlurmContext(ComputeContextTests):
    host = "10.77.0.1"

    @pytest.fixture
    def context(self, cluster):
        context = SlurmContext(200_000_000)
        yield context
        context.close()


class TestSrunContext(ComputeContextTests):
    host = "10.77.0.1"

    @pytest.fixture
    def context(self, cluster, monkeypatch, tmp_path):
        shim = tmp_path / "bin" / "srun"  # srun looks up the names of nodes, which only the login node knows
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec {" ".join(cluster.enter_names("login"))} /usr/bin/srun "$@"\n')
        shim.chmod(0o755)
        monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
        cluster.run("salloc", "--no-shell", "--ntasks=2", "--mem-per-cpu=300M")
        (job, _) = cluster.queue()[0].split()
        monkeypatch.setenv("SLURM_JOB_ID", job)
        context = SrunContext(200_000_000)
        yield context
        context.close()
        cluster.run("scancel", job)
