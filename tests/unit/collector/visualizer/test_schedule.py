"""When plots are due: the schedule gets events and times, and uses no process and no clock."""

from neural.tracking.collector.visualizer.schedule import MOST_TRIES, PAUSE_S, Schedule

RUN, OTHER = b"r" * 16, b"o" * 16
SESSION, SECOND = b"1" * 16, b"2" * 16


def watching(*uids, every=10):
    plan = Schedule()
    for uid in uids or (RUN,):
        plan.watch(uid, f"run_{uid.hex()[:8]}", every)
    return plan


def drawn(plan, now_s, cpu_s=1.0):
    """Draw the next round; return its run, None if none is due."""
    begun = plan.begin(now_s)
    if begun is None:
        return None
    plan.done(now_s, cpu_s)
    return begun[0]


def test_nothing_is_due_before_so_many_logs():
    plan = watching(every=10)

    plan.logged(RUN, SESSION, 9)

    assert drawn(plan, 0.0) is None
    assert plan.next_due_s() is None
    assert not plan.has_due_rounds()


def test_first_round_is_due_at_once():
    plan = watching(every=10)

    plan.logged(RUN, SESSION, 10)

    assert plan.has_due_rounds()
    assert drawn(plan, 0.0) == RUN


def test_later_rounds_keep_their_distance_and_only_the_newest_state_is_drawn():
    plan = watching()
    plan.logged(RUN, SESSION, 10)
    assert drawn(plan, 0.0) == RUN
    for _ in range(100):
        plan.logged(RUN, SESSION, 10)

    assert drawn(plan, PAUSE_S - 1) is None
    assert drawn(plan, PAUSE_S + 1) == RUN
    assert drawn(plan, 2 * PAUSE_S + 2) is None


def test_later_rounds_wait_until_drawing_costs_a_twentieth_of_a_core():
    plan = watching()
    plan.logged(RUN, SESSION, 10)
    assert drawn(plan, 0.0, cpu_s=10.0) == RUN
    plan.logged(RUN, SESSION, 10)

    assert drawn(plan, 189.0) is None
    assert drawn(plan, 191.0) == RUN


def test_first_round_of_another_run_waits_for_nobody():
    plan = watching(RUN, OTHER)
    plan.logged(RUN, SESSION, 10)
    assert drawn(plan, 0.0, cpu_s=100.0) == RUN

    plan.logged(OTHER, SECOND, 10)

    assert drawn(plan, 0.1) == OTHER


def test_run_that_ended_is_drawn_once_more_at_once():
    plan = watching()
    plan.logged(RUN, SESSION, 10)
    assert drawn(plan, 0.0) == RUN
    plan.logged(RUN, SESSION, 3)

    plan.ended(RUN, SESSION)

    assert drawn(plan, 0.1) == RUN
    assert RUN not in plan
    assert not plan.has_due_rounds()


def test_run_that_ended_with_nothing_new_is_drawn_all_the_same_since_it_has_another_status():
    plan = watching()
    plan.logged(RUN, SESSION, 10)
    assert drawn(plan, 0.0) == RUN

    plan.ended(RUN, SESSION)

    assert drawn(plan, 0.1) == RUN


def test_short_run_is_drawn_once():
    plan = watching(every=10)
    plan.logged(RUN, SESSION, 2)
    plan.ended(RUN, SESSION)

    assert drawn(plan, 0.0) == RUN
    assert drawn(plan, 1000.0) is None


def test_run_that_logged_no_metrics_is_not_drawn():
    plan = watching()
    plan.logged(RUN, SESSION, 0)

    plan.ended(RUN, SESSION)

    assert drawn(plan, 0.0) is None
    assert RUN not in plan


def test_run_has_ended_when_all_its_ranks_have():
    plan = watching(every=100)
    plan.logged(RUN, SESSION, 5)
    plan.logged(RUN, SECOND, 5)

    plan.ended(RUN, SESSION)
    assert drawn(plan, 0.0) is None
    plan.ended(RUN, SECOND)

    assert drawn(plan, 0.0) == RUN


def test_end_during_a_round_makes_another():
    plan = watching()
    plan.logged(RUN, SESSION, 10)
    assert plan.begin(0.0) is not None

    plan.ended(RUN, SESSION)
    assert plan.begin(0.1) is None
    plan.done(1.0, 1.0)

    assert drawn(plan, 1.1) == RUN


def test_round_that_failed_is_tried_again_after_a_pause():
    plan = watching()
    plan.logged(RUN, SESSION, 10)
    assert plan.begin(0.0) is not None

    assert plan.failed(0.0)

    assert drawn(plan, 0.5) is None
    assert drawn(plan, 5.0) == RUN


def test_round_that_fails_again_and_again_is_given_up():
    plan = watching()
    plan.logged(RUN, SESSION, 10)
    plan.ended(RUN, SESSION)
    for number in range(MOST_TRIES):
        assert plan.begin(100.0 * number) is not None
        assert plan.failed(100.0 * number) == (number < MOST_TRIES - 1)

    assert not plan.has_due_rounds()
    assert RUN not in plan


def test_successor_draws_what_was_due_and_what_was_being_drawn():
    plan = watching(RUN, OTHER)
    plan.logged(RUN, SESSION, 10)
    plan.ended(RUN, SESSION)
    plan.logged(OTHER, SECOND, 4)
    assert plan.begin(0.0) is not None

    successor = Schedule()
    successor.resume(plan.pending())

    assert drawn(successor, 0.0) == RUN
    assert drawn(successor, 0.0) is None
    successor.logged(OTHER, SECOND, 6)
    assert drawn(successor, 0.0) == OTHER


def test_run_that_went_away_is_not_drawn():
    plan = watching()
    plan.logged(RUN, SESSION, 10)

    plan.forget(RUN)

    assert drawn(plan, 0.0) is None


def test_many_live_runs_take_turns():
    uids = [bytes([number]) * 16 for number in range(6)]
    plan = watching(*uids)
    rounds = dict.fromkeys(uids, 0)
    for second in range(3600):
        for uid in uids:
            plan.logged(uid, SESSION, 10)
        if (uid := drawn(plan, float(second))) is not None:
            rounds[uid] += 1

    assert max(rounds.values()) - min(rounds.values()) <= 1


def test_cheap_round_does_not_make_up_for_a_dear_one():
    plan = watching(RUN, OTHER)
    plan.logged(RUN, SESSION, 10)
    assert drawn(plan, 0.0, cpu_s=10.0) == RUN
    plan.logged(OTHER, SECOND, 10)
    assert drawn(plan, 1.0, cpu_s=0.1) == OTHER
    plan.logged(RUN, SESSION, 10)

    assert drawn(plan, 10.0 * 19 - 1) is None
    assert drawn(plan, 10.0 * 19 + 1) == RUN


def test_successor_knows_which_sessions_still_run():
    plan = watching()
    plan.logged(RUN, SESSION, 10)
    plan.logged(RUN, SECOND, 10)
    assert drawn(plan, 0.0) == RUN
    successor = Schedule()
    successor.resume(plan.pending())

    successor.ended(RUN, SECOND)
    assert drawn(successor, 1000.0) is None
    successor.ended(RUN, SESSION)

    assert drawn(successor, 1001.0) == RUN


def test_run_with_points_from_before_is_drawn_when_it_ends_without_another_one():
    plan = Schedule()
    plan.watch(RUN, "run", 10, logged=True)

    plan.ended(RUN, SESSION)

    assert drawn(plan, 0.0) == RUN
