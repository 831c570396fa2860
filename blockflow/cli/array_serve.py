"""`blockflow array serve`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from blockflow.web.volume import ServedVolume

__all__ = ["serve"]


@click.command("serve")
@click.argument("source", type=click.Path())
@click.option(
    "--slot", "slots", multiple=True, metavar="NAME", help="Of a config: what to serve; may be repeated."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free."
)
@click.option("--token", help="What visitors must know.  [default: with another --host a random one]")
@click.option(
    "--allow-origin", "origins", multiple=True, metavar="URL", help="A page that may read, as a viewer."
)
@click.option("--cache", default="512 MB", show_default=True, help="Memory for what was computed.")
@click.option(
    "--largest", default="64 MB", show_default=True, help="The largest region that is given at one time."
)
@click.option(
    "--num-workers", type=click.IntRange(min=1), default=2, show_default=True, help="Computed at one time."
)
def serve(
    source: str,
    slots: tuple[str, ...],
    host: str,
    port: int,
    token: str | None,
    origins: tuple[str, ...],
    cache: str,
    largest: str,
    num_workers: int,
) -> None:
    """Serve an array, or slots of a config's graph, over HTTP until it is interrupted.

    SOURCE is an array, or a config (.yaml), of which all that it stores is served, or the operators and arrays
    named by --slot. Nothing is computed before somebody looks at it: with zarr, napari or neuroglancer as a zarr
    hierarchy with OME-NGFF metadata, from another blockflow as a RESTful volume. Only programs on this machine are
    answered, unless --host says otherwise; then a token is needed.
    """
    import secrets

    from blockflow.utility.quantity import parse_bytes
    from blockflow.web.cache import ByteCache
    from blockflow.web.server import SiteServer, is_loopback
    from blockflow.web.site import Site

    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    if token is not None and not (token.isascii() and token.replace("-", "").replace("_", "").isalnum()):
        raise click.UsageError("a token consists of letters, digits, - and _")
    try:
        sizes = parse_bytes(cache), parse_bytes(largest)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    volumes = _volumes(source, slots)
    site = Site(volumes, ByteCache(sizes[0], num_workers), sizes[1])
    try:
        opened = SiteServer(site, host, port, token, origins)
    except OSError as error:
        raise click.UsageError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from None
    with opened as server:
        click.echo(f"{server.url}/")
        for volume in volumes:
            click.echo(f"  {volume.name}  {' x '.join(map(str, volume.shape))} {volume.dtype}")
            click.echo(f"    zarr, napari:  {server.url}/{volume.name}/")
            click.echo(f"    neuroglancer:  {server.url}/{volume.name}/|zarr3:")
            if volume.letters() is not None:
                click.echo(f"    RESTfulVolume: {server.url}/{volume.name}/restful.json")
        click.echo("end it with Ctrl-C")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended")


def _volumes(source: str, slots: tuple[str, ...]) -> "list[ServedVolume]":
    from blockflow.storage import open_array
    from blockflow.web.volume import volume_of_array

    if source.endswith((".yaml", ".yml")):
        return _of_config(source, slots)
    if slots:
        raise click.UsageError(f"{source} is an array; --slot names a part of a config (.yaml)")
    return [volume_of_array(_url_name(Path(source).name), open_array(source))]


def _of_config(source: str, slots: tuple[str, ...]) -> "list[ServedVolume]":
    from blockflow.config import load_config
    from blockflow.config.graph import ConfigGraph
    from blockflow.config.references import resolve
    from blockflow.operators.grid import volume_of
    from blockflow.storage import Array, open_array
    from blockflow.web.volume import volume_of_array, volume_of_slot

    loaded = load_config(source)

    def open_named(name: str) -> Array:
        return open_array(resolve(loaded, name)[0])

    graph = ConfigGraph(loaded, open_named)
    volumes = []
    for name, given in [(slot, slot) for slot in slots] or [
        (name, output.slot) for name, output in loaded.config.outputs.items()
    ]:
        slot = graph.slot(given)
        if slot is None:
            volumes.append(volume_of_array(_url_name(name), open_named(given)))
        else:
            volumes.append(volume_of_slot(_url_name(name), slot, volume_of(slot.meta, name)))
    if not volumes:
        raise click.UsageError(f"{source} has no outputs; name an array or a task's output with --slot")
    return volumes


def _url_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name) or "volume"
