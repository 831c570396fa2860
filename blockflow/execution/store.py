"""A tracking store on disk: Daisy's marks for one recipe, grid and set of outputs, and our journal beside them."""

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blockflow.errors import RunDirectoryError
from blockflow.execution.journal import Mark
from blockflow.tasks import BlockGrid, Recipe
from blockflow.utility.files import read_json, write_json

__all__ = ["BoolMap", "Store"]

BoolMap = NDArray[np.bool_]


@dataclass
class Store:
    """One store on disk."""

    path: Path
    recipe: Recipe
    grid: BlockGrid
    generations: Mapping[str, str]
    order: int

    @property
    def journal_path(self) -> Path:
        return self.path / "journal"

    @property
    def daisy_path(self) -> Path:
        return self.path / "daisy"

    def save(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.journal_path.exists():
            self.write_journal(np.zeros(self.grid.shape, np.uint8))
        about = {
            "order": self.order,
            "generations": dict(self.generations),
            "grid": self.grid.to_json(),
            "recipe": dict(self.recipe.parts),
        }
        write_json(self.path / "about.json", about)

    @classmethod
    def load(cls, path: Path) -> "Store":
        try:
            about = read_json(path / "about.json")
            store = cls(
                path,
                Recipe(about["recipe"]),
                BlockGrid.from_json(about["grid"]),
                about["generations"],
                about["order"],
            )
            if (
                not isinstance(store.generations, dict)
                or not isinstance(about["recipe"], dict)
                or not isinstance(store.order, int)
            ):
                raise TypeError("generations must be a mapping, order a number")  # noqa: TRY301 (said below)

            store.journal()
            store.done()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunDirectoryError(
                f"{path}: this tracking store cannot be read ({type(error).__name__}: {error}). Remove its folder: "
                "what it marked as done is done again then"
            ) from error
        return store

    def journal(self) -> NDArray[np.uint8]:
        return np.fromfile(self.journal_path, np.uint8).reshape(self.grid.shape)

    def write_journal(self, marks: NDArray[np.uint8]) -> None:
        aside = self.journal_path.with_suffix(".partial")
        marks.tofile(aside)
        aside.replace(self.journal_path)

    def touched(self) -> BoolMap:
        """Where the voxels are this store's, as far as they were written."""
        return np.isin(self.journal(), (Mark.BEGUN, Mark.COMMITTED))

    def ever_touched(self) -> BoolMap:
        """Where some voxels may be this store's."""
        return np.isin(self.journal(), (Mark.BEGUN, Mark.COMMITTED, Mark.OVERWRITTEN))

    def done(self) -> BoolMap:
        marks = self._daisy_marks("r")
        return np.zeros(self.grid.shape, np.bool_) if marks is None else marks.astype(np.bool_)

    def forget(self, where: BoolMap) -> None:
        """Take back the marks of the blocks in `where`."""
        marks = self._daisy_marks("r+")
        if marks is not None:
            marks[where] = 0
        journal = self.journal()
        journal[where] = np.where(self.ever_touched()[where], Mark.OVERWRITTEN, Mark.UNTOUCHED)
        self.write_journal(journal)

    def unmark(self, where: BoolMap) -> int:
        """Let the blocks in `where` be done again, though their voxels are this recipe's; says how many had marks."""
        marks = self._daisy_marks("r+")
        counted = 0 if marks is None else int(np.count_nonzero(marks[where]))
        if marks is not None:
            marks[where] = 0
        journal = self.journal()
        journal[where & (journal == Mark.COMMITTED)] = Mark.BEGUN
        self.write_journal(journal)
        return counted

    def _daisy_marks(self, mode: Literal["r", "r+"]) -> NDArray[np.uint8] | None:
        """Daisy's byte per block, mapped from its file: a zarr array of one chunk, without compression.

        It may be larger than the grid, since it counts the blocks of the total ROI, context included.
        """
        folder = self.daisy_path / "done"
        if not (folder / "zarr.json").exists() or self._is_torn():
            return None
        about = read_json(folder / "zarr.json")
        shape = tuple(about["shape"])
        codecs = [codec["name"] for codec in about["codecs"]]
        if about["chunk_grid"]["configuration"]["chunk_shape"] != list(shape) or codecs != ["bytes"]:
            raise RunDirectoryError(
                f"{folder}: Daisy keeps its marks in a way that this blockflow cannot read. Use the version of Daisy "
                "that made the run directory, or another run_dir"
            )
        chunk = folder.joinpath("c", *("0" for _ in shape))
        if not chunk.exists():
            return None
        marks: NDArray[np.uint8] = np.memmap(chunk, np.uint8, mode, shape=shape)
        return marks[tuple(slice(0, count) for count in self.grid.shape)]

    def reserve(self) -> None:
        """Give Daisy's marks their room on the disk, once Daisy has made the files: `OSError` if there is none.

        They are mapped into the driver's memory, and a process that writes a page there is no room for ends at once.
        """
        for file in self.daisy_path.glob("*/c/**/*"):
            if file.is_file() and (size := file.stat().st_size):
                with file.open("r+b") as opened:
                    os.posix_fallocate(opened.fileno(), 0, size)

    def mend(self) -> None:
        """Let Daisy make its marks anew if it was killed while it made them: then no block is known to be done."""
        if self._is_torn():
            shutil.rmtree(self.daisy_path)

    def _is_torn(self) -> bool:
        folder = self.daisy_path / "done"
        try:
            shape = read_json(folder / "zarr.json")["shape"]
            size = folder.joinpath("c", *("0" for _ in shape)).stat().st_size
        except FileNotFoundError:
            return False
        except ValueError:
            return True
        return bool(size < math.prod(shape))
