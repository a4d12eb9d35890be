"""Which run a process writes to, by its launcher's variables."""

import pytest

from neural.tracking.agent import choose_run, run_identity


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """Reset the count of trackers, as in a new process."""
    monkeypatch.setattr(run_identity, "_ordinals", run_identity.Counter())


def chosen_in_another_process(environ, name="net"):
    run_identity._ordinals.clear()
    return choose_run(name, environ)


def test_nothing_set_gives_a_random_run():
    first, second = choose_run("net", {}), choose_run("net", {})

    assert first.uid != second.uid
    assert (first.rank, first.world_size, first.role, first.key) == (0, 1, "opener", "random")


def test_ranks_of_one_job_choose_the_same_run():
    job = {"NTRACK_RUN_ID": "job-7", "WORLD_SIZE": "2"}

    zero = chosen_in_another_process({**job, "RANK": "0"})
    one = chosen_in_another_process({**job, "RANK": "1"})

    assert zero.uid == one.uid
    assert (zero.rank, zero.role) == (0, "opener")
    assert (one.rank, one.role, one.world_size) == (1, "rank", 2)


def test_second_tracker_of_a_name_joins_the_second_run_of_the_other_ranks():
    job = {"NTRACK_RUN_ID": "job-7"}
    first, second = choose_run("net", job), choose_run("net", job)

    run_identity._ordinals.clear()
    assert (choose_run("net", job).uid, choose_run("net", job).uid) == (first.uid, second.uid)
    assert first.uid != second.uid


def test_other_names_are_other_runs():
    job = {"NTRACK_RUN_ID": "job-7"}

    assert choose_run("a", job).uid != choose_run("b", job).uid


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"TORCHELASTIC_RUN_ID": "abc", "RANK": "3"}, "TORCHELASTIC_RUN_ID"),
        ({"TORCHELASTIC_RUN_ID": "none", "RANK": "3"}, "random"),
        ({"TORCHELASTIC_RUN_ID": "", "RANK": "3"}, "random"),
        ({"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"}, "SLURM"),
        ({"SLURM_JOB_ID": "9", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, "random"),
        ({"PMIX_NAMESPACE": "ns", "PMIX_RANK": "3"}, "PMIX"),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "RANK": "3"}, "parent"),
        ({"WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "RANK": "3"}, "parent"),
        ({"NTRACK_RUN_ID": "x", "TORCHELASTIC_RUN_ID": "y", "RANK": "3"}, "NTRACK_RUN_ID"),
    ],
)
def test_first_rule_that_applies_names_the_job_and_gives_the_rank(environ, key):
    run = choose_run("net", environ)

    assert run.key == key
    assert run.rank == (0 if key == "random" else 3)


def test_rank_without_a_job_is_not_believed():
    assert choose_run("net", {"RANK": "5"}).rank == 0


def test_job_on_several_nodes_that_nothing_names_warns(caplog):
    environ = {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "5"}

    run = choose_run("net", environ)

    assert run.key == "random"
    assert "set NTRACK_RUN_ID" in caplog.text


def test_restart_of_a_job_is_a_new_attempt_of_the_same_run():
    job = {"TORCHELASTIC_RUN_ID": "abc", "RANK": "0"}

    first = chosen_in_another_process({**job, "TORCHELASTIC_RESTART_COUNT": "0"})
    second = chosen_in_another_process({**job, "TORCHELASTIC_RESTART_COUNT": "1"})

    assert first.uid == second.uid
    assert (first.attempt, second.attempt) == (1, 2)


@pytest.mark.parametrize("nonsense", ["-1", "x", "", "1e3", "٣", "9" * 50])
def test_rank_that_is_no_number_is_passed_over(nonsense):
    assert choose_run("net", {"NTRACK_RUN_ID": "x", "RANK": nonsense}).rank == 0


def test_experiment_id_is_eight_hex_digits():
    run = choose_run("net", {"NTRACK_RUN_ID": "x"})

    assert run.experiment_id == run.uid.hex()[:8]
    assert len(run.uid) == 16
