"""Python files that are loaded by path, as modules under private names."""

import hashlib
import importlib.util
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from blockflow.errors import BlockflowError, WorkerFileError

__all__ = ["folders_of_files", "load_module"]

#: the folders that `load_module` has put on the module search path of this process
folders_of_files: set[str] = set()


class _SourceLoader(SourceFileLoader):
    """Compiles the file each time: Python would run old bytecode after an edit in the same second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load_module(path: str | Path, error: type[BlockflowError] = WorkerFileError) -> ModuleType:
    """Run a Python file as a module under a private name of its own, whatever was loaded before.

    Modules beside it can be imported. It is pickled by value, so its functions can travel to processes that
    have not loaded it.

    Raises
    ------
    WorkerFileError
        Or `error`, if the file cannot be run, with its own traceback.
    """
    import cloudpickle

    path = Path(path).absolute()
    if not path.is_file():
        raise error(f"{path}: there is no such file")
    if path.suffix != ".py":
        raise error(f"{path}: not a Python file (its name must end in .py)")
    name = f"_blockflow_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    loader = _SourceLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for the modules beside it, after all others
        folders_of_files.add(str(path.parent))
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit):  # noqa: BLE001 (whatever the file raises is shown)
        del sys.modules[name]
        raise error(f"{path} cannot be loaded:\n{_own_traceback()}") from None
    cloudpickle.register_pickle_by_value(module)
    return module


def _own_traceback() -> str:
    """The current exception as text, from the file's own first line on."""
    kind, error, trace = sys.exc_info()
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((__file__, "<frozen importlib")):
        trace = trace.tb_next
    return "".join(traceback.format_exception(kind, error, trace)).rstrip()
