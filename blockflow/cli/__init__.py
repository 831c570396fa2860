"""The command line. Each command is a module, imported when it is used: help is instant."""

import sys
from importlib import import_module

import click

import blockflow

__all__ = ["cli", "main"]

#: name of each command -> what it does; the module of the same name holds it as `command`
_COMMANDS = {
    "run": "Run a config file to its end, or go on with a run.",
    "plan": "Say what a config's graph becomes: tasks, block shapes, memory, bytes.",
    "check": "Prove on a few blocks that blockwise equals the graph asked lazily.",
    "submit": "Run a config file from a Slurm job of its own.",
    "status": "Say how far a run has got.",
    "failures": "Say which blocks of a run failed, and why.",
    "retry": "Try the failed blocks of a run again.",
    "reset": "Let the next run do blocks again that are done.",
    "array": "Look at an array, convert it, or serve it to viewers.",
    "operators": "Say which operators there are, and what they do.",
    "sample": "Make a small sample volume to try things on.",
    "schema": "Print the JSON Schema of config files, for editors.",
}


class _LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"blockflow.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(blockflow.__version__, prog_name="blockflow")
def cli() -> None:
    """Run image-processing graphs blockwise over volumes too large for memory."""


def main() -> None:
    """The console script: errors that blockflow raises on purpose are said in a line, without traceback."""
    from blockflow.errors import BlockflowError

    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BlockflowError as error:
        click.echo(f"blockflow: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"blockflow: a file cannot be used: {error}", err=True)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)
