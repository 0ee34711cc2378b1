"""What tests of killed processes run in a process of its own, every training written into a log.

Processes are forked from a server that has imported the package once, so that starting one costs next to nothing.
"""

import multiprocessing
import os
import sys
from pathlib import Path

SETTINGS = {"dataset": "synthetic-ranking", "embedding_size": 8, "num_negatives": 16, "batch_size": 256, "epochs": 4}

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["dslstudy.study.cells", "dslstudy.study.proposals", "dslstudy.commands.study"])


def the_search():
    """The search that is killed."""
    from dslstudy.study import RunConfig
    from dslstudy.study.search import Search

    return Search(base=RunConfig(**SETTINGS), trials=7, sampler="tpe", round_size=3)


def search(folder: Path, store: str) -> None:
    """Run the search in a store of a folder."""
    _log(folder / f"{store}.log")
    from dslstudy.study import open_study
    from dslstudy.study.search import run_search

    os.environ["DSLSTUDY_RESULTS"] = str(folder / "committed")
    run_search(open_study("smoke", store=folder / store, progress=False), the_search())


def command(folder: Path, store: str, *words: str) -> None:
    """Call the command line with a store of a folder."""
    _log(folder / f"{store}.log")
    from dslstudy.cli import main

    os.environ["DSLSTUDY_RESULTS"] = str(folder / "committed")
    sys.argv = ["dslstudy", *words, "--store", str(folder / store)]
    main()


def start(target, *arguments):
    """A process that has started."""
    process = server.Process(target=target, args=arguments)
    process.start()
    return process


def words(folder: Path, store: str) -> list[tuple[str, str]]:
    """The log of a store: ``train KEY`` before a run is trained, ``stored KEY`` when its record is there."""
    log = folder / f"{store}.log"
    return [tuple(line.split()) for line in log.read_text().splitlines()] if log.exists() else []


def _log(path: Path) -> None:
    from dslstudy.study.study import Study

    train, store = Study._train, Study._store

    def say(word, keys):
        with path.open("a") as file:
            file.write("".join(f"{word} {key}\n" for key in keys))

    def trained(self, configs):
        say("train", [config.key for config in configs])
        return train(self, configs)

    def stored(self, config, *rest):
        record = store(self, config, *rest)
        say("stored", [config.key])
        return record

    Study._train, Study._store = trained, stored
