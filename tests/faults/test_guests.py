"""A training on another host can only select sinks that the owner allows, on every route of its run.

The connection uses CURVE with an allowed key. `tests/contract/test_own_credentials.py` tests the sinks' part.
"""

import json
import shutil

import pytest
from click.testing import CliRunner

from neural.tracking.cli import main
from neural.tracking.collector import commands
from neural.tracking.reader.run import Run
from neural.tracking.reader.run_list import list_runs
from neural.tracking.sink_state.progress import SinkFolder
from neural.tracking.sink_state.status import links
from tests.faults.harness import Collector
from tests.faults.outcome import only_run, verify
from tests.faults.remote import Remote
from tests.patience import wait_until
from tests.recorder import Recorder
from tests.sinkbench import rough_plugins
from tests.wandb_server import WandbServer

LOGS = """
from neural.tracking import ExperimentTracker
tracker = ExperimentTracker("guest", base_dir, auto_visualize=False)
for step in range(20):
    tracker.log_metrics({"loss": step + 0.5}, step=step)
returned[1] = tracker.flush(120)
ready()
wait_for_go()
tracker.finish(timeout=120)
"""
ENV = {
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "MLFLOW_EXPERIMENT_NAME": "theirs",
    "WANDB_BASE_URL": "http://127.0.0.1:9",
    "WANDB_MODE": "disabled",
    "WANDB_PROJECT": "theirs",
}
CANARY = "c4a7" * 10
CURIOUS = '[sinks.curious]\ntype = "curious"\nruns = "named"\n'


@pytest.fixture
def runner():
    return CliRunner()


@pytest.fixture
def owned(keeper, tmp_path):
    """Return a collector that is not started, with the tests' plugins."""
    made = Remote(keeper, tmp_path)
    made.allow(me=made.user)
    made.own_environment = {"PYTHONPATH": rough_plugins(tmp_path / "plugins")}
    return made


def configure(remote, text):
    remote.state.config_file.write_text(text)
    remote.state.config_file.chmod(0o600)


def logs(keeper, remote, own_dir, **environment):
    """Start a training on another host; wait until all that it logged is stored, and return it."""
    trainer = keeper.trainer(own_dir, LOGS, environment=remote.environment(**{**ENV, **environment}))
    trainer.wait_ready()
    assert trainer.returned(1) == 1
    return trainer


def env_seen(folder, run):
    """Return the run's ``env`` from the curious sink, after the sink has all points of the run."""

    def found():
        texts = [file.read_text() for file in folder.glob(f"guest_{run.id}-*.jsonl")]
        return sum(text.count('"kind": "metrics"') for text in texts) >= 20

    wait_until(found, what=f"the run is in {folder}")
    return json.loads((folder / f"guest_{run.id}.env").read_text())


def test_sink_the_owner_did_not_configure_gets_nothing_and_everyone_is_told(keeper, owned, own_dir, runner):
    configure(owned, CURIOUS)
    owned.start()

    trainer = logs(keeper, owned, own_dir, NTRACK_SINKS="jsonl,curious")
    run = only_run(owned.base_dir)
    env_seen(owned.base_dir / "jsonl", run)  # of the configured sink, in its default folder

    why = "sink jsonl is not configured on the collector's host"
    wait_until(lambda: why in trainer.output, what="the training is told")
    assert "`ntrack sinks add jsonl --only-named`" in trainer.output
    assert f"run guest_{run.id} of me: {why}" in owned.log.read_text()
    for command in (["sinks", "ls"], ["runs", "show", run.id]):
        done = runner.invoke(main, [*command, "--base-dir", str(owned.base_dir)], env={"COLUMNS": "400"})
        assert why in done.output, command
        assert "ignores MLFLOW_EXPERIMENT_NAME" in done.output, command
    trainer.go()
    trainer.succeed()
    assert not (owned.state.root / "sinks" / "jsonl").exists()
    assert [worker["name"] for worker in owned.status()["workers"]] == ["store", "visualizer", "curious"]
    assert verify(owned.base_dir) == 0


def test_environment_of_a_guest_counts_as_far_as_the_owner_says_whatever_way_its_run_takes(
    keeper, owned, own_dir, tmp_path, runner
):
    allowed = 'guests_may_set = ["WANDB_PROJECT"]\n'
    configure(owned, CURIOUS + allowed)
    owned.start()
    trainer = logs(keeper, owned, own_dir, NTRACK_SINKS="curious")
    run, seen = only_run(owned.base_dir), owned.base_dir / "jsonl"

    live = env_seen(seen, run)
    trainer.kill()  # a courier delivers the rest
    wait_until(lambda: Run(run.folder).end_ns is not None, what="the courier told the end")
    shutil.rmtree(seen)
    owned.collector.kill_all()
    shutil.rmtree(SinkFolder(owned.state, "curious").root)
    shutil.rmtree(owned.state.root / "cursors")
    owned.start()
    after_a_restart = env_seen(seen, run)
    done = runner.invoke(main, ["runs", "rebuild", run.id, "--base-dir", str(owned.base_dir)])
    assert done.exit_code == 0, done.output
    shutil.rmtree(seen)
    assert commands.stop(owned.base_dir, timeout_s=120) == 0
    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    moved = run.folder.rename(elsewhere / run.folder.name)
    shutil.rmtree(owned.state.root / "log")
    shutil.rmtree(SinkFolder(owned.state, "curious").root)
    owned.start()
    SinkFolder(owned.state, "curious").request_delivery(run.uid.hex(), moved)
    done = runner.invoke(
        main, ["sinks", "replay", str(moved), "--to", "curious", "--base-dir", str(owned.base_dir)]
    )
    assert done.exit_code == 0, done.output
    replayed = env_seen(seen, run)

    assert [live, after_a_restart, replayed] == [{"WANDB_PROJECT": "theirs"}] * 3


def test_owner_who_goes_on_with_the_run_of_a_guest_does_not_say_as_his_own_what_the_guest_said(
    keeper, owned, own_dir
):
    configure(owned, CURIOUS)
    owned.start()
    trainer = logs(keeper, owned, own_dir, NTRACK_SINKS="curious,jsonl")
    trainer.go()
    trainer.succeed()
    run = only_run(owned.base_dir)
    goes_on = f"""
from neural.tracking import ExperimentManager
tracker = ExperimentManager(base_dir).get_experiment({run.id!r})
tracker.log_metrics({{"loss": 7.0}}, step=99)
returned[1] = tracker.finish(timeout=120)
"""

    owner = keeper.trainer(owned.base_dir, goes_on)
    owner.succeed()

    assert owner.returned(1) == 1
    found = Run(run.folder)
    assert found.facts.settings_via is None
    assert not {"env", "backend"} & set(found.settings)
    assert env_seen(owned.base_dir / "jsonl", run) == {}
    assert not (owned.state.root / "sinks" / "jsonl").exists()


def test_local_training_of_the_same_collector_keeps_its_own_say(keeper, owned, own_dir):
    configure(owned, CURIOUS)
    owned.start()

    trainer = keeper.trainer(
        owned.base_dir, LOGS, environment={**ENV, **owned.own_environment, "NTRACK_SINKS": "curious"}
    )
    trainer.wait_ready()
    (run,) = list_runs(owned.base_dir)

    assert env_seen(owned.base_dir / "jsonl", run) == ENV
    trainer.go()
    trainer.succeed()


@pytest.fixture
def attacker():
    made = Recorder()
    yield made
    made.close()


@pytest.mark.frameworks
@pytest.mark.timeout(900)
@pytest.mark.parametrize("named", ["an attacker's server", "a file outside"])
def test_guest_cannot_have_mlflow_go_elsewhere(keeper, owned, own_dir, tmp_path, attacker, named):
    pytest.importorskip("mlflow")
    outside = tmp_path / "outside.db"
    told = attacker.url if named == "an attacker's server" else f"sqlite:///{outside}"
    owned.own_environment = {"MLFLOW_TRACKING_TOKEN": CANARY}
    configure(owned, '[sinks.mlflow]\ntype = "mlflow"\nruns = "named"\n')
    owned.start()

    trainer = logs(keeper, owned, own_dir, NTRACK_SINKS="mlflow", MLFLOW_TRACKING_URI=told)

    run = only_run(owned.base_dir)
    link = wait_until(
        lambda: links(owned.state, run.uid.hex()).get("mlflow"), 600, "it is in the owner's MLflow"
    )
    assert link.startswith(f"sqlite:///{owned.base_dir}/mlflow.db")
    assert attacker.requests == []
    assert not outside.exists()
    wait_until(lambda: "ignores MLFLOW_EXPERIMENT_NAME, MLFLOW_TRACKING_URI" in trainer.output)
    trainer.go()
    trainer.succeed()


@pytest.mark.frameworks
@pytest.mark.timeout(900)
def test_guest_cannot_have_wandb_go_elsewhere(keeper, owned, own_dir, tmp_path, attacker):
    pytest.importorskip("wandb")
    outside, server = tmp_path / "outside", WandbServer("5e7f" * 10)
    owned.own_environment = {"WANDB_API_KEY": server.key, "WANDB_BASE_URL": server.url}
    configure(owned, '[sinks.wandb]\ntype = "wandb"\nruns = "named"\n')
    owned.start()

    trainer = logs(
        keeper, owned, own_dir, NTRACK_SINKS="wandb", WANDB_BASE_URL=attacker.url, WANDB_DIR=str(outside)
    )
    trainer.go()
    trainer.succeed()

    run = only_run(owned.base_dir)
    wait_until(lambda: len(server.run(run.uid.hex()).rows()) >= 20, 600, "it is in the owner's W&B")
    assert attacker.requests == []
    assert not outside.exists()
    assert server.run(run.uid.hex()).project != "theirs"
    owned.collector.kill_all()
    server.shut_down()


def test_run_folder_that_names_a_file_elsewhere_is_held_back_and_says_why(keeper, base_dir, tmp_path, runner):
    outside = tmp_path / "outside.db"
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{outside}", "NTRACK_SINKS": ""}
    trainer = keeper.trainer(tmp_path / "theirs", LOGS, environment=environment)
    trainer.wait_ready()
    trainer.go()
    trainer.succeed()
    run = only_run(tmp_path / "theirs")
    base_dir.mkdir()
    keeper.collector_of(base_dir)
    shutil.copytree(run.folder, base_dir / run.folder.name)

    command = ["sinks", "replay", run.id, "--to", "mlflow", "--timeout", "5", "--base-dir", str(base_dir)]
    done = runner.invoke(main, command)

    assert done.exit_code == 3
    assert f"MLFLOW_TRACKING_URI=sqlite:///{outside}" in done.output.replace("\n", "")
    assert "--set tracking_uri=" in done.output
    assert not outside.exists()
    assert Collector(base_dir).process() is not None
