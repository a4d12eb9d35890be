"""Collectors and peers that end with the test."""

import pytest

from tests.integration.collector.peer import CollectorProcess, Peer


@pytest.fixture
def start_collector(tmp_path):
    started = []

    def start(*arguments, base_dir=tmp_path / "runs", ready=True, **more):
        collector = CollectorProcess(base_dir, *arguments, **more)
        started.append(collector)
        return collector.wait_ready() if ready else collector

    yield start
    for collector in started:
        collector.end()


@pytest.fixture
def make_peer(tmp_path):
    made = []

    def make(base_dir=tmp_path / "runs", **more):
        made.append(Peer(base_dir, **more))
        return made[-1]

    yield make
    for peer in made:
        peer.close()
