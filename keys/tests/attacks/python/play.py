"""Plays cases against python-tuf's own client: play.py CASES.json prints {name: "ok" or the exception's name}."""

import datetime
import json
import os
import sys
import tempfile
from urllib.parse import quote, unquote

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

BASE = "https://repository.example/"


class Directory(FetcherInterface):
    """Files of a directory as if they came over HTTP; one of them may never end."""

    def __init__(self, directory, endless=None):
        self.directory = directory
        self.endless = endless

    def _fetch(self, url):
        name = url[len(BASE):]
        target = self.endless == "<target>" and name.endswith(".board.json")
        if name == self.endless or target:
            while True:
                yield b" " * 65536
        for spelling in (name, unquote(name), "/".join(quote(s, "") for s in name.split("/"))):
            path = os.path.join(self.directory, spelling)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    yield file.read()
                return
        raise DownloadHTTPError("not there", 404)


def refresh(store, directory, root, clock, endless=None):
    updater = Updater(
        store, BASE, store, BASE, fetcher=Directory(directory, endless), bootstrap=root
    )
    # The specification's fixed update start time, so that cases need no clock.
    when = datetime.datetime.strptime(clock, "%Y-%m-%dT%H:%M:%SZ")
    updater._trusted_set.reference_time = when.replace(tzinfo=datetime.timezone.utc)
    updater.refresh()
    return updater


def play(case):
    with open(case["root"], "rb") as file:
        root = file.read()
    with tempfile.TemporaryDirectory() as store:
        if case.get("before"):
            refresh(store, case["before"], root, case["before_clock"])
        try:
            updater = refresh(
                store, case["served"], root, case["clock"], case.get("endless")
            )
            for name in case["targets"]:
                info = updater.get_targetinfo(name)
                if info is None:
                    return "NoSuchTarget"
                updater.download_target(info, os.path.join(store, "downloaded"))
            return "ok"
        # Any exception at all is a refusal; its name is the result.
        except Exception as error:
            return type(error).__name__


with open(sys.argv[1], encoding="utf-8") as file:
    json.dump({case["name"]: play(case) for case in json.load(file)}, sys.stdout)
