"""Certificates are renewed while they are served: looked at hourly, their ends told to metrics and, when near, to people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from loguru import logger

from cluster.base.clock import Clock

PERIOD_S = 3600.0
WARNED_WITHIN = timedelta(days=30)
"""Leaf certificates are renewed with 120 days left, so one that is this near its end could not be; an authority never is."""


class Renewal:
    """`renew` renews what is due and tells when each certificate ends; `note` hears it."""

    def __init__(
        self,
        renew: Callable[[], Mapping[str, datetime]],
        *,
        note: Callable[[Mapping[str, datetime]], None],
        clock: Clock,
    ) -> None:
        self._renew = renew
        self._note = note
        self._clock = clock

    async def run(self) -> None:
        while True:
            self.look()
            await self._clock.sleep(PERIOD_S)

    def look(self) -> None:
        try:
            ends = self._renew()
        except (OSError, ValueError) as error:
            logger.warning("certificates cannot be renewed", error=str(error))
            return
        self._note(ends)
        soon = self._clock.now() + WARNED_WITHIN
        for name, end in sorted(ends.items()):
            if end < soon:
                logger.warning("certificate ends soon", certificate=name, ends=end.isoformat(timespec="seconds"))
