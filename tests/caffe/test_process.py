"""The log, the timer, and what scripts for several GPUs say of one."""

from __future__ import annotations

import logging

import pytest

from lbpmap import caffe
from lbpmap.caffe import process


@pytest.fixture
def logger():
    """Give the package's logger, and put its level and handlers back afterwards."""
    found = logging.getLogger("lbpmap.caffe")
    level, handlers = found.level, list(found.handlers)
    yield found
    found.setLevel(level)
    found.handlers[:] = handlers


@pytest.fixture
def clock(monkeypatch):
    """Give a list whose one number is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(process, "_now", lambda: now[0])
    return now


def test_the_timer_measures_between_start_and_stop(clock):
    timer = caffe.Timer()
    assert timer.ms == 0
    timer.start()
    clock[0] += 0.25
    timer.stop()
    clock[0] += 1
    timer.stop()
    assert timer.ms == 250


def test_asking_stops_the_timer(clock):
    timer = caffe.Timer()
    timer.start()
    clock[0] += 0.5
    assert timer.ms == 500
    clock[0] += 1
    assert timer.ms == 500


def test_starting_again_does_not_restart(clock):
    timer = caffe.Timer()
    timer.start()
    clock[0] += 0.5
    timer.start()
    clock[0] += 0.5
    assert timer.ms == 1000


def test_messages_go_to_the_packages_logger(logger, caplog):
    caffe.init_log(0)
    caffe.log("100 % done")
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [(logging.INFO, "100 % done")]
    caffe.init_log(1)
    caffe.log("not told")
    assert len(caplog.records) == 1
    with pytest.raises(ValueError, match="level must be from 0 to 3, got 4"):
        caffe.init_log(4)


def test_standard_error_is_written_to_once(logger, capsys, monkeypatch):
    monkeypatch.setattr(logger, "propagate", False)
    caffe.init_log(0, True)
    caffe.init_log(0, True)
    caffe.log("told")
    assert capsys.readouterr().err == "told\n"


def test_one_solver():
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    caffe.set_multiprocess(False)
    assert (caffe.solver_count(), caffe.solver_rank(), caffe.has_nccl()) == (1, 0, False)
    with pytest.raises(ValueError, match="learns on one device, got 2"):
        caffe.set_solver_count(2)
    with pytest.raises(ValueError, match="has rank 0, got 1"):
        caffe.set_solver_rank(1)
    with pytest.raises(AttributeError, match=r"caffe\.NCCL is not in lbpmap: several GPUs"):
        _ = caffe.NCCL
