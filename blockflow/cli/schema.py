"""`blockflow schema`: the JSON Schema of a config, for editors."""

import click

__all__ = ["command"]


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of a config, so that an editor can check and complete it.

    Save it as blockflow.schema.json, and begin a config with the line
    `# yaml-language-server: $schema=blockflow.schema.json`.
    """
    import json

    from blockflow.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
