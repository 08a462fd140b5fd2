from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import sqlalchemy

sys.path.insert(0, str(Path(__file__).parent))


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def write_behind(connection: object, _: object) -> None:
    """Half of the time of these tests was waiting for the disk. No test is about a loss of power:
    what a process wrote before it was killed, the next one reads.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")
