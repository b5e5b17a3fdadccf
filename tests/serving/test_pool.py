"""The processes that label: a bounded queue, a limit in time, and a process that dies takes nothing with it."""

import asyncio
import os
import time

import pytest

from deep_ecg.serving.limits import Refused
from deep_ecg.serving.pool import Pool
from deep_ecg.system.errors import DeepECGError


def double(number: int) -> int:
    return 2 * number


def refuse():
    raise DeepECGError("no such lead")


def fail():
    raise ZeroDivisionError


def run(limit_s: float, *work: tuple, waiting: int = 20) -> list:
    """The results, or what was raised, of all `work` asked for at once of one process."""

    async def all_of_it():
        pool = Pool(1, waiting, limit_s)
        try:
            return await asyncio.gather(*(pool.run(*one) for one in work), return_exceptions=True)
        finally:
            pool.close()

    return asyncio.run(all_of_it())


def test_every_job_gets_its_own_answer_and_what_is_wrong_is_told():
    answers = run(60, *((double, number) for number in range(10)), (refuse,), (fail,), (double, 7))
    assert answers[:10] == [2 * number for number in range(10)] and answers[-1] == 14
    assert [(one.status, one.why) for one in answers[10:11]] == [(422, "no such lead")]
    assert answers[11].status == 500 and "ZeroDivision" not in answers[11].why


@pytest.mark.parametrize("last_words, status", [((time.sleep, 600), 504), ((os._exit, 1), 500)])
def test_a_job_that_never_ends_and_one_that_dies_leave_the_next_one_its_process(last_words, status):
    answers = run(15, last_words, (double, 3))
    assert isinstance(answers[0], Refused) and answers[0].status == status and answers[1] == 6


def test_too_many_are_sent_away():
    answers = run(60, *((double, number) for number in range(5)), waiting=2)
    assert answers[:3] == [0, 2, 4] and [one.status for one in answers[3:]] == [503, 503]
