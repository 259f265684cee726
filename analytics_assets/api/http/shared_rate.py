"""The rate that all workers share: pyrate-limiter's GCRA, with its state in Redis or Postgres.

This module is imported where `rate_limit_url` is set, because the packages of the extra `shared-rate` are optional.
"""

import asyncio
from collections.abc import Awaitable
from inspect import isawaitable
from time import monotonic
from typing import Any

import pyrate_limiter as pyrate

from analytics_assets.api.http.origin import origin_of
from analytics_assets.api.http.response import NoResponseError
from analytics_assets.api.redaction import redact
from analytics_assets.api.settings import HEADROOM, Settings

FRESH = 0.02
"""Seconds that the answer of the server may take. A permission that is older is not used: its request would come
closer to the next one than the rate allows."""

EVENED_OUT = 0.02
"""Seconds of requests that may follow one another at once, if those before them came late. At rates from 50 a second
the way to the server would cost more than the pause between two requests."""

SERVER_TIMEOUT = 10
"""Most seconds to wait for a connection to the server."""

TABLE = "analytics_assets_rate"

CREATE = f"CREATE UNLOGGED TABLE IF NOT EXISTS {TABLE} (key text PRIMARY KEY, free_at bigint NOT NULL)"
"""Without a log, a request costs the server no write to its disk. A crash of the server forgets one pause."""

TAKE = f"""INSERT INTO {TABLE} AS rate VALUES (%s, 0) ON CONFLICT (key) DO UPDATE SET free_at = rate.free_at
RETURNING free_at, (extract(epoch FROM clock_timestamp()) * 1000)::bigint"""
"""Locks the row of an API until the transaction ends, and says what time it is by the server's clock."""

PUT = f"UPDATE {TABLE} SET free_at = %s WHERE key = %s"


class SharedRate:
    """The budget of requests that all workers with the same `rate_limit_url` have for an API.

    The API is known by its origin. All its workers go by the clock of the server, so that theirs may differ.

    Args:
        settings: The settings, with `rate_limit_url` and `requests_per_second`.
    """

    def __init__(self, settings: Settings) -> None:
        rate = settings.requests_per_second or 0.0
        # pyrate-limiter takes whole numbers from 1 on: a thousand requests in so many milliseconds.
        interval = max(1, round(1_000_000 * HEADROOM / rate))
        self._rates = [pyrate.Rate(1000, interval, burst=1 + int(rate * EVENED_OUT))]
        self._settings = settings
        self._key = f"analytics_assets:rate:{origin_of(settings.base_url)}"
        self._turn = asyncio.Lock()
        self._bucket: pyrate.StateBucket | None = None
        self._connection: Any = None

    async def acquire(self) -> None:
        """Waits until a request may be sent.

        Raises:
            NoResponseError: The server of the budget cannot be reached, or refuses.
        """
        try:
            async with self._turn:
                await self._acquire(self._bucket or await self._open())
        except _driver_errors(self._settings) as error:
            await self.close()
            raise NoResponseError(self._explain(error)) from None
        except asyncio.CancelledError:
            # The connection may be in the middle of a statement.
            await self.close()
            raise

    async def _acquire(self, bucket: pyrate.StateBucket) -> None:
        while True:
            began = monotonic()
            now = await _result(bucket.now())  # type: ignore[no-untyped-call] # of the base class
            decision = await _result(bucket.put_decision(pyrate.RateItem("request", now)))
            if not decision.allowed:
                await asyncio.sleep((decision.retry_after_ms or 0) / 1000)
            elif monotonic() - began <= FRESH:
                return

    async def close(self) -> None:
        """Closes the connection. `acquire` would open another one."""
        connection, self._connection, self._bucket = self._connection, None, None
        if connection is not None:
            await (connection.aclose if hasattr(connection, "aclose") else connection.close)()

    async def _open(self) -> pyrate.StateBucket:
        url = self._settings.rate_limit_url or ""
        if is_redis(url):
            from redis.asyncio import Redis  # noqa: PLC0415 - optional

            self._connection = redis = Redis.from_url(url, socket_connect_timeout=SERVER_TIMEOUT)
            store: pyrate.StateStore = pyrate.RedisStateStore(redis, self._key)
            self._bucket = pyrate.StateBucket(self._rates, store=store, clock=_RedisClock(redis))
        else:
            from psycopg import AsyncConnection  # noqa: PLC0415 - optional

            # Prepared statements do not survive PgBouncer.
            self._connection = postgres = await AsyncConnection.connect(
                url, autocommit=True, prepare_threshold=None, connect_timeout=SERVER_TIMEOUT
            )
            await _create_table(postgres)
            self._bucket = pyrate.StateBucket(self._rates, store=_PostgresStore(postgres, self._key))
        return self._bucket

    def _explain(self, error: Exception) -> str:
        setting = self._settings.connector.setting("rate_limit_url")
        reason = redact(str(error).strip().partition("\n")[0], self._settings.secrets())
        return (
            f"No request was sent: the server of {setting} cannot be asked for its turn ({type(error).__name__}:"
            f" {reason}). Without it, all workers together could exceed requests_per_second ="
            f" {self._settings.requests_per_second:g}. Start the server, or remove the setting: then each worker has an"
            " equal part of the rate."
        )


class _RedisClock(pyrate.AbstractClock):
    def __init__(self, redis: Any) -> None:  # noqa: ANN401 - redis-py's types need a parameter that it does not have
        self._redis = redis

    async def now(self) -> int:
        seconds, microseconds = await self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


class _PostgresStore(pyrate.StateStore):
    """State of pyrate-limiter in a row, which is locked while a decision is made.

    pyrate-limiter's own bucket for Postgres keeps a row a request, which neither paces requests nor is fair: of four
    workers one got a hundred times the requests of another, and in some seconds the rate was exceeded.
    """

    is_async = True
    default_clock = pyrate.WallClock()

    def __init__(self, connection: Any, key: str) -> None:  # noqa: ANN401 - of psycopg, which is optional
        self._connection, self._key = connection, key

    def check(
        self,
        algorithm: pyrate.StateAlgorithm,
        rates: list[pyrate.Rate],
        now: int,  # noqa: ARG002 - the worker's clock, and that of the server counts
        weight: int,
    ) -> Awaitable[pyrate.Decision]:
        async def decide() -> pyrate.Decision:
            async with self._connection.transaction():
                found = await self._connection.execute(TAKE, (self._key,))
                free_at, by_server = await found.fetchone()
                (free_at,), decision = algorithm.step(rates, (free_at,), by_server, weight)
                if decision.allowed:
                    await self._connection.execute(PUT, (free_at, self._key))
            return decision

        return decide()

    def read(self, algorithm: pyrate.StateAlgorithm, rates: list[pyrate.Rate]) -> tuple[float, ...]:
        raise NotImplementedError("only pyrate-limiter's reports ask for it")

    def reset(self) -> None:
        raise NotImplementedError("the workers share the state")


async def _create_table(connection: Any) -> None:  # noqa: ANN401 - of psycopg, which is optional
    found = await connection.execute("SELECT to_regclass(%s)", (TABLE,))
    if (await found.fetchone())[0] is None:
        async with connection.transaction():
            # Two workers that create it at once would fail.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (TABLE,))
            await connection.execute(CREATE)


def is_redis(url: str) -> bool:
    """Whether the server of a `rate_limit_url` is Redis, and not Postgres."""
    return url.startswith("redis")


async def _result(value: Any) -> Any:  # noqa: ANN401 - pyrate-limiter returns either
    return await value if isawaitable(value) else value


def _driver_errors(settings: Settings) -> tuple[type[Exception], ...]:
    if is_redis(settings.rate_limit_url or ""):
        from redis.exceptions import RedisError  # noqa: PLC0415 - optional

        # The last three are what a wrong query of the URL leads to.
        return OSError, RedisError, TypeError, ValueError, LookupError
    from psycopg import Error  # noqa: PLC0415 - optional

    return OSError, Error
