"""Forks a child that is prepared as a worker's is, has heard of an end, hears of no other, and waits for a lock."""

import multiprocessing
import os
import signal

from workers.processes.descendants import _end_at_parents_death

lock = multiprocessing.Semaphore(0)
parent = os.getpid()
if not os.fork():
    _end_at_parents_death(parent)
    os.kill(os.getpid(), signal.SIGURG)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    print("ready", flush=True)
    lock.acquire()
signal.pause()
