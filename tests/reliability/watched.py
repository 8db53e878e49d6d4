"""Databases that note what becomes of tasks, each for one scenario."""

from __future__ import annotations

import os
from itertools import count
from typing import Any, ClassVar

from tests.settings import _SERVERS

#: What claims a task, ends it, or has it begin again is noted.
_VIEWS = (
    "CREATE VIEW record AS SELECT * FROM cloudtask_results_taskrecord",
    "CREATE VIEW error AS SELECT * FROM cloudtask_results_taskerror",
)
_numbers = count()


class Database:
    """
    A database and the harness's own connection to it.

    Args:
        host: Of its server; by default that of address().
        port: Likewise.
    """

    #: Its name among the servers of the tests' settings.
    server: ClassVar[str]
    #: The package that it is reached by.
    driver: ClassVar[str]
    _watch: ClassVar[tuple[str, ...]]
    _force: ClassVar[str] = ""
    #: IDs of all other sessions, and what ends one.
    _sessions: ClassVar[str]
    _kill: ClassVar[str]

    def __init__(self, host: str = "", port: str = "") -> None:
        default_host, default_port = self.address()
        self.host, self.port = host or default_host, port or default_port
        self.user = _SERVERS[self.server]["USER"]
        self.name = f"cloudtask_reliability_{os.getpid()}_{next(_numbers)}"
        self._run_on_server(f"DROP DATABASE IF EXISTS {self.name}{self._force}")
        self._run_on_server(f"CREATE DATABASE {self.name}")
        self._connection = self._connect(self.name)

    @classmethod
    def address(cls) -> tuple[str, str]:
        """Where the other tests have its server."""
        configured = _SERVERS[cls.server]
        return configured["HOST"], configured["PORT"]

    def connect_again(self) -> None:
        """Do so when its server was away."""
        self._connection.close()
        self._connection = self._connect(self.name)

    def watch(self) -> None:
        """Note what happens, in tables that have to be there."""
        for statement in (*_VIEWS, *self._watch):
            self._execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return list(self._execute(query).fetchall())

    def sessions(self) -> list[int]:
        """IDs of all connections to it but the harness's own."""
        return [row[0] for row in self.rows(self._sessions)]

    def end_session(self, session: int) -> None:
        """End a connection, as an administrator does; it may be gone."""
        self._execute(self._kill.format(session))

    def cut(self) -> int:
        """End all other connections to it. Returns how many there were."""
        sessions = self.sessions()
        for session in sessions:
            self.end_session(session)
        return len(sessions)

    def close(self) -> None:
        """Drop it."""
        self._connection.close()
        self._run_on_server(f"DROP DATABASE IF EXISTS {self.name}{self._force}")

    def _connect(self, name: str) -> Any:
        raise NotImplementedError

    def _execute(self, statement: str) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(statement)
        return cursor

    def _run_on_server(self, statement: str) -> None:
        connection = self._connect("")
        connection.cursor().execute(statement)
        connection.close()


class PostgreSQL(Database):
    server = "postgresql"
    driver = "psycopg"
    _force = " WITH (FORCE)"
    _watch = (
        """
        CREATE TABLE transition (
            task text, was text, became text, worker text,
            at double precision DEFAULT extract(epoch FROM clock_timestamp()),
            is_death boolean
        )
        """,
        """
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO transition (task, was, became, worker, is_death)
            VALUES (
                NEW.id, OLD.status, NEW.status, NEW.worker_id,
                NEW.interruptions > OLD.interruptions
            );
            RETURN NULL;
        END $$
        """,
        """
        CREATE TRIGGER watch AFTER UPDATE OF status ON cloudtask_results_taskrecord
        FOR EACH ROW WHEN (
            NEW.status <> 'READY' OR OLD.status IN ('SUCCESSFUL', 'FAILED')
        )
        EXECUTE FUNCTION note()
        """,
    )
    _sessions = (
        "SELECT pid FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    _kill = "SELECT pg_terminate_backend({})"

    def _connect(self, name: str) -> Any:
        # It is not everywhere, and these tests run where it is.
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            dbname=name or "postgres",
            autocommit=True,
            connect_timeout=5,
        )


class MariaDB(Database):
    server = "mariadb"
    driver = "pymysql"
    _watch = (
        """
        CREATE TABLE transition (
            task varchar(32), was varchar(16), became varchar(16), worker text,
            at double DEFAULT unix_timestamp(sysdate(6)), is_death boolean
        )
        """,
        # No trigger here is for one column: a claim sets the last but one, and
        # an end the last of these.
        """
        CREATE TRIGGER watch AFTER UPDATE ON cloudtask_results_taskrecord
        FOR EACH ROW
        IF (NEW.status <> 'READY' OR OLD.status IN ('SUCCESSFUL', 'FAILED'))
            AND NOT (
                NEW.status = OLD.status
                AND NEW.last_attempted_at <=> OLD.last_attempted_at
                AND NEW.finished_at <=> OLD.finished_at
            )
        THEN
            INSERT INTO transition (task, was, became, worker, is_death)
            VALUES (
                NEW.id, OLD.status, NEW.status, NEW.worker_id,
                NEW.interruptions > OLD.interruptions
            );
        END IF
        """,
    )
    _sessions = (
        "SELECT id FROM information_schema.processlist "
        "WHERE db = database() AND id <> connection_id()"
    )
    _kill = "KILL SOFT CONNECTION {}"

    def end_session(self, session: int) -> None:
        import pymysql

        try:
            super().end_session(session)
        except pymysql.Error as error:
            if error.args[0] != _NO_SUCH_THREAD:
                raise

    def _connect(self, name: str) -> Any:
        import pymysql

        return pymysql.connect(
            host=self.host,
            port=int(self.port),
            user=self.user,
            database=name or None,
            autocommit=True,
            connect_timeout=5,
        )


#: What MariaDB says of a session that is gone.
_NO_SUCH_THREAD = 1094
