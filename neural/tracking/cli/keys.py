"""``ntrack keys``: keys that may log to this collector from other hosts, and collectors that a user trusts."""

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
    """Manage keys for trainings and collectors on other hosts.

    On the collector's host: run `ntrack keys collector`, then `ntrack keys allow NAME KEY` for each user or
    host that may log. On the hosts of trainings: run `ntrack keys client`, then `ntrack keys trust ADDRESS
    KEY`, and set NTRACK_COLLECTOR=ADDRESS. All keys in arguments and output are public keys.
    """


@keys.command(short_help="Show the key of this collector; create it if missing.")
@click.option("--renew", is_flag=True, help="Create a new key; every client must trust it again.")
@output.base_dir_option
def collector(base_dir: Path, renew: bool) -> None:
    """Show the public key of the collector of this folder; create it if it is missing.

    Standard output is only the key. Give it to `ntrack keys trust ADDRESS KEY` on the hosts of trainings.
    """
    state = State.for_base_dir(base_dir)
    with _errors_as_failure():
        state.base_dir.mkdir(parents=True, exist_ok=True)
        state.make()
        pair = _show_or_make(state.keys / keyring.COLLECTOR_SECRET, renew)
    if renew and _status(state):
        click.echo("the running collector uses the old key until it is started again", err=True)
    click.echo(public_text(pair.public))


@keys.command(short_help="Show your key; create it if missing.")
@click.option("--renew", is_flag=True, help="Create a new key; every collector must allow it again.")
def client(renew: bool) -> None:
    """Show the public key of your trainings; create it if it is missing.

    Standard output is only the key. Give it to `ntrack keys allow NAME KEY` on the collector's host. The key
    belongs to you, not to this host: with a shared home folder, all nodes use the same key.
    """
    with _errors_as_failure():
        pair = _show_or_make(keyring.user_folder() / keyring.CLIENT_SECRET, renew)
    click.echo(public_text(pair.public))


@keys.command(short_help="Allow the key of a client.")
@click.argument("name")
@click.argument("key")
@output.base_dir_option
def allow(name: str, key: str, base_dir: Path) -> None:
    """Allow clients with KEY to log to this collector; NAME is a label of your choice.

    A running collector applies this at once. KEY is the output of `ntrack keys client` on the client's host.
    """
    with _errors_as_failure():
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
                hint = f"choose another name, or run `ntrack keys revoke {name}` first"
                raise output.Failure(f"another key has the name {name}", hint=hint)
        keyring.write_list(path, {**entries, name: public})
    output.stdout().print(f"[green]●[/] {output.text(name)} may log to {output.text(state.base_dir)}")


@keys.command(short_help="Revoke an allowed key.")
@click.argument("name")
@output.base_dir_option
def revoke(name: str, base_dir: Path) -> None:
    """Revoke the key with this NAME. A running collector applies this within a second.

    Later events of trainings with this key wait in their outboxes.
    """
    with _errors_as_failure():
        path = State.for_base_dir(base_dir).keys / keyring.ALLOWED
        entries = keyring.read_list(path)
        if name not in entries:
            known = ", ".join(entries) or "none"
            raise output.Failure(f"no key is allowed as {name}", hint=f"allowed keys: {known}")
        keyring.write_list(path, {known: key for known, key in entries.items() if known != name})
    output.stdout().print(f"the key {output.text(name)} is revoked")


@keys.command(short_help="Trust the key of a collector on another host.")
@click.argument("address")
@click.argument("key")
def trust(address: str, key: str) -> None:
    """Trust the public KEY of the collector at ADDRESS (tcp://host:port), and no other key there.

    KEY is the output of `ntrack keys collector` on the collector's host.
    """
    with _errors_as_failure():
        checked = check_address("ADDRESS", address)
        if checked is None:
            raise output.Failure(
                "the collector of this host needs no key", hint="give ADDRESS as tcp://host:port"
            )
        path = keyring.user_folder() / keyring.COLLECTORS
        entries = keyring.read_list(path)
        place = host_and_port(checked)
        changed = place in entries and entries[place] != keyring.parse_public(key)
        keyring.write_list(path, {**entries, place: keyring.parse_public(key)})
    console = output.stdout()
    console.print(f"[green]●[/] {place} is trusted{', with a new key' if changed else ''}")
    console.print(
        f"  [dim]→[/] set NTRACK_COLLECTOR={checked} for your trainings; run `ntrack doctor` to test it"
    )


@keys.command(name="ls", short_help="List own, allowed, refused and trusted keys.")
@output.json_option
@output.base_dir_option
def list_keys(base_dir: Path, as_json: bool) -> None:
    """List the keys that this folder's collector allows or has refused lately, and those that you trust."""
    state = State.for_base_dir(base_dir)
    with _errors_as_failure():
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
    yield f"[dim]this collector[/]  {own['collector'] or 'no key; run `ntrack keys collector` to create one'}"
    for name, key in allowed.items():
        yield f"[dim]allowed[/]         {public_text(key)}  [bold]{output.text(name)}[/]"
    for one in refused:
        if one["key"]:
            when, shown = output.ago(one["time_ns"]), output.text(one["key"])
            yield f"[yellow]refused[/]         {shown}  from {output.text(one['address'])}, {when}"
            yield f"  [dim]→ run `ntrack keys allow NAME {shown}` to allow it[/]"
    yield f"[dim]you[/]             {own['client'] or 'no key; run `ntrack keys client` to create one'}"
    for name, key in trusted.items():
        yield f"[dim]trusted[/]         {public_text(key)}  [bold]{output.text(name)}[/]"


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
    except FileExistsError:  # another process was faster
        return keyring.read_pair(path)
    click.echo(f"created {path} on {time.strftime('%Y-%m-%d')}; keep it secret", err=True)
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
def _errors_as_failure() -> Iterator[None]:
    """Turn errors of keys and folders into a Failure."""
    try:
        yield
    except (OSError, TrackingError) as error:
        raise output.Failure(str(error)) from error
