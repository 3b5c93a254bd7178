# SPDX-License-Identifier: MIT
"""Actors that work at the same time, each in a process of its own."""
import multiprocessing


def run_all(actors, until):
    """actor.run(until, pipe) of each, which sends what it has to tell at its end. -> what each of them sent."""
    pipes, procs = [], []
    for actor in actors:
        here, there = multiprocessing.Pipe(False)
        pipes.append(here)
        procs.append(multiprocessing.Process(target=actor.run, args=(until, there)))
        procs[-1].start()
        there.close()  # or recv() would wait for ever for one that has failed
    told = [pipe.recv() for pipe in pipes]
    for p in procs:
        p.join()
    return told
