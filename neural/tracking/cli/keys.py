"""``ntrack keys``: who may log to this collector from other hosts, and which collectors a user trusts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from neural.tracking.cli import output
from neural.tracking.core.address import check_address, host_and_port
from neural.tracking.errors import CollectorUnreachableError, TrackingError
from neural.tracking.remote import keys as keyring
from neural.tracking.remote.keys import Pair, public_text
from neural.tracking.state.control_client import request
from neural.tracking.state.paths import State


@click.group()
def keys() -> None:
    """Let trainings on other hosts in, and connect to collectors there.

    On the collector's host: `ntrack keys collector`, then `ntrack keys allow NAME KEY` for each user or
    host that may log. Where trainings run: `ntrack keys client`, then `ntrack keys trust ADDRESS KEY`,
    and NTRACK_COLLECTOR=ADDRESS. All keys shown and given are public ones.
    """


@keys.command(short_help="Show this collector's key; make it the first time.")
@click.option("--renew", is_flag=True, help="Make a new one: every client has to be told.")
@output.base_dir_option
def collector(base_dir: Path, renew: bool) -> None:
    """Show the public key of the collector of this folder; make it the first time.

    Standard output is the key alone; `ntrack keys trust ADDRESS KEY` takes it where trainings run.
    """
    state = State.for_base_dir(base_dir)
    with _mended():
        state.base_dir.mkdir(parents=True, exist_ok=True)
        state.make()
        pair = _show_or_make(state.keys / keyring.COLLECTOR_SECRET, renew)
    if renew and _status(state):
        click.echo("the running collector goes on with the old key until it is started again", err=True)
    click.echo(public_text(pair.public))


@keys.command(short_help="Show this user's key; make it the first time.")
@click.option("--renew", is_flag=True, help="Make a new one: every collector has to be told.")
def client(renew: bool) -> None:
    """Show the public key that your trainings here connect with; make it the first time.

    Standard output is the key alone; `ntrack keys allow NAME KEY` takes it on the collector's host. It
    is yours, not the machine's: with a shared home folder one serves all nodes.
    """
    with _mended():
        pair = _show_or_make(keyring.user_folder() / keyring.CLIENT_SECRET, renew)
    click.echo(public_text(pair.public))


@keys.command(short_help="Let a client's key in.")
@click.argument("name")
@click.argument("key")
@output.base_dir_option
def allow(name: str, key: str, base_dir: Path) -> None:
    """Let whoever has the secret half of KEY log to this collector, under a NAME of your choice.

    A running collector follows at once. KEY is what `ntrack keys client` shows there.
    """
    with _mended():
        state = State.for_base_dir(base_dir)
        state.base_dir.mkdir(parents=True, exist_ok=True)
        state.make()
        path = state.keys / keyring.ALLOWED
        entries = keyring.read_list(path)
        public, name = keyring.parse_public(key), keyring.check_name(name)
        for known, other in entries.items():
            if other == public and known != name:
                raise output.Failure(f"this key is allowed already, as {known}")
            if known == name and other != public:
                hint = f"choose another name, or `ntrack keys revoke {name}` first"
                raise output.Failure(f"{name} is another key's name", hint=hint)
        keyring.write_list(path, {**entries, name: public})
    output.stdout().print(f"[green]●[/] {output.text(name)} may log to {output.text(state.base_dir)}")


@keys.command(short_help="Shut a key out.")
@click.argument("name")
@output.base_dir_option
def revoke(name: str, base_dir: Path) -> None:
    """Shut out the key of this NAME; a running collector follows within a second.

    What its trainings log from then on waits in their outboxes.
    """
    with _mended():
        path = State.for_base_dir(base_dir).keys / keyring.ALLOWED
        entries = keyring.read_list(path)
        if name not in entries:
            known = ", ".join(entries) or "nobody"
            raise output.Failure(f"no key is allowed as {name}", hint=f"there is {known}")
        keyring.write_list(path, {known: key for known, key in entries.items() if known != name})
    output.stdout().print(f"{output.text(name)} is shut out")


@keys.command(short_help="Note a collector's key where trainings run.")
@click.argument("address")
@click.argument("key")
def trust(address: str, key: str) -> None:
    """Note the public KEY of the collector at ADDRESS (tcp://host:port): who has another is not talked to.

    KEY is what `ntrack keys collector` shows on its host.
    """
    with _mended():
        checked = check_address("ADDRESS", address)
        if checked is None:
            raise output.Failure("the collector of this host needs no key", hint="give tcp://host:port")
        path = keyring.user_folder() / keyring.COLLECTORS
        entries = keyring.read_list(path)
        place = host_and_port(checked)
        changed = place in entries and entries[place] != keyring.parse_public(key)
        keyring.write_list(path, {**entries, place: keyring.parse_public(key)})
    console = output.stdout()
    console.print(f"[green]●[/] {place} is trusted{', with a new key' if changed else ''}")
    console.print(f"  [dim]→[/] set NTRACK_COLLECTOR={checked} for your trainings; `ntrack doctor` tries it")


@keys.command(name="ls", short_help="List what is allowed and trusted.")
@output.json_option
@output.base_dir_option
def list_keys(base_dir: Path, as_json: bool) -> None:
    """List whom this folder's collector lets in, who was refused lately, and whom you trust."""
    state = State.for_base_dir(base_dir)
    with _mended():
        allowed = keyring.read_list(state.keys / keyring.ALLOWED)
        trusted = keyring.read_list(keyring.user_folder() / keyring.COLLECTORS)
    status = _status(state)
    refused = (status.get("remote") or {}).get("refused") or []
    own = {
        "collector": _public(state.keys / keyring.COLLECTOR_SECRET),
        "client": _public(keyring.user_folder() / keyring.CLIENT_SECRET),
    }
    if as_json:
        shown = {
            **own,
            "allowed": {name: public_text(key) for name, key in allowed.items()},
            "trusted": {name: public_text(key) for name, key in trusted.items()},
            "refused": [{key: one[key] for key in ("key", "address", "time_ns")} for one in refused],
        }
        output.print_json(shown)
        return
    for line in _lines(own, allowed, trusted, refused):
        output.stdout().print(line, soft_wrap=True)


def _lines(
    own: dict[str, str | None],
    allowed: dict[str, bytes],
    trusted: dict[str, bytes],
    refused: list[dict[str, Any]],
) -> Iterator[str]:
    yield f"[dim]this collector[/]  {own['collector'] or 'no key; `ntrack keys collector` makes one'}"
    for name, key in allowed.items():
        yield f"[dim]lets in[/]         {public_text(key)}  [bold]{output.text(name)}[/]"
    for one in refused:
        if one["key"]:
            when, shown = output.ago(one["time_ns"]), output.text(one["key"])
            yield f"[yellow]refused[/]         {shown}  from {output.text(one['address'])}, {when}"
            yield f"  [dim]→ `ntrack keys allow NAME {shown}` lets it in[/]"
    yield f"[dim]you[/]             {own['client'] or 'no key; `ntrack keys client` makes one'}"
    for name, key in trusted.items():
        yield f"[dim]trust[/]           {public_text(key)}  [bold]{output.text(name)}[/]"


def _show_or_make(path: Path, renew: bool) -> Pair:
    if renew:
        pair = Pair.make()
        keyring.write_pair(path, pair, replace=True)
        return pair
    with contextlib.suppress(FileNotFoundError):
        return keyring.read_pair(path)
    pair = Pair.make()
    try:
        keyring.write_pair(path, pair)
    except FileExistsError:  # someone was faster
        return keyring.read_pair(path)
    click.echo(f"made {path} on {time.strftime('%Y-%m-%d')}, for your eyes only", err=True)
    return pair


def _public(path: Path) -> str | None:
    try:
        return public_text(keyring.read_pair(path).public)
    except (OSError, TrackingError):
        return None


def _status(state: State) -> dict[str, Any]:
    try:
        return request(state, "status")
    except CollectorUnreachableError:
        return {}


@contextlib.contextmanager
def _mended() -> Iterator[None]:
    """Turn what is wrong with keys and folders into a message."""
    try:
        yield
    except (OSError, TrackingError) as error:
        raise output.Failure(str(error)) from error
