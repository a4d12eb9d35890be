"""The window of bytes in flight to another host: quick answers widen it, slow ones narrow it."""

from neural.tracking.agent.send.congestion import FIRST_BYTES, LEAST_BYTES, MOST_BYTES, CongestionWindow


def answer(pace, took_s, *, in_flight_bytes=None, number=[0]):  # noqa: B006 - counts over all calls
    number[0] += 1
    pace.sent(number[0], pace.window_bytes if in_flight_bytes is None else in_flight_bytes, 100.0)
    pace.acknowledged(number[0], 100.0 + took_s)


def test_quick_answers_while_the_pipe_is_in_use_widen_it_up_to_a_limit():
    pace = CongestionWindow()
    answer(pace, 0.01)
    assert pace.window_bytes == 2 * FIRST_BYTES

    for _ in range(30):
        answer(pace, 0.01)

    assert pace.window_bytes == MOST_BYTES


def test_quick_answers_to_a_trickle_say_nothing_of_the_line():
    pace = CongestionWindow()

    answer(pace, 0.01, in_flight_bytes=100)

    assert pace.window_bytes == FIRST_BYTES


def test_slow_answers_narrow_it_down_to_a_limit():
    pace = CongestionWindow()

    for _ in range(30):
        answer(pace, 3.0)

    assert pace.window_bytes == LEAST_BYTES


def test_silence_narrows_it_and_forgets_what_was_timed():
    pace = CongestionWindow()
    pace.sent(7, FIRST_BYTES, 100.0)

    pace.broken()
    pace.acknowledged(7, 100.01)

    assert pace.window_bytes == FIRST_BYTES // 2


def test_answer_for_less_than_what_is_timed_is_no_answer():
    pace = CongestionWindow()
    pace.sent(10**9, FIRST_BYTES, 100.0)

    pace.acknowledged(10**9 - 1, 100.01)

    assert pace.window_bytes == FIRST_BYTES
