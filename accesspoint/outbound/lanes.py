"""Lanes: how many messages go to each destination at once, so that a dead or slow partner never holds up a living one.

A destination is the host and port that messages are posted to; what is not looked up yet shares one lane.
Each lane has a window. It opens by one with every answer and halves with every failure of the destination
(no connection, no answer in time, 429, 5xx), so it is small where nothing is known and grows where answers
come. At nothing the destination counts as dead: its messages wait without a slot, one probe at a time goes
out after a back-off with jitter, and the first answer brings the lane back. To hear from a partner (a message
of his, a receipt) ends the back-off at once.

Slots are dealt round robin, one to each lane in turn. Lanes that have not proved themselves since their last
failure hold at most half of all slots together, so a partner that answers always finds room, however many
others take connections and stay silent.

Nothing here is durable, and nothing needs to be: what is owed is rows, and a row says when it is due. After a
restart every lane begins with a small window, and `prime` says whose messages were waiting.

All times are arguments and the random fraction is drawn from the schedule, so a simulation decides both.

Spec: reliability section 3, practice 8; decision D4.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from accesspoint.retry import RetrySchedule

UNKNOWN: Final = ""
"""The lane of messages whose destination is not looked up yet; it cannot die."""
FIRST_WINDOW: Final = 2
LONGEST_SILENCE: Final = timedelta(minutes=5)
"""A dead destination is probed at least this often while something waits for it."""

Route = tuple[str, str, str]
"""What a destination is looked up by: participant, document and process identifier."""


@dataclass(slots=True)
class _Lane:
    window: int
    in_flight: int = 0
    proven: bool = False
    vain: int = 0
    closed_until: datetime | None = None
    waiting: bool = False
    """Whether messages may wait longer than they need, so that an answer should wake them."""

    @property
    def dead(self) -> bool:
        return self.closed_until is not None


def lane_to(url: str) -> str:
    """Return the lane of what is posted to this URL: host and port; the whole text where it has none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower() or url
    except ValueError:
        return url


class Lanes:
    """The lanes of one sender; `total` slots, at most `per_lane` of them to one destination."""

    def __init__(self, *, total: int, per_lane: int, schedule: RetrySchedule) -> None:
        self._total = total
        self._per_lane = per_lane
        self._schedule = schedule
        self._lanes: dict[str, _Lane] = {}
        self._routes: dict[Route, str] = {}
        self._partners: dict[str, set[str]] = {}
        self._last = UNKNOWN
        self._woken: set[str] = set()

    # Which lane

    def lane_of(self, route: Route) -> str:
        """The lane of a new message: where the last look-up of its route led, else `UNKNOWN`."""
        return self._routes.get(route, UNKNOWN)

    def learn(self, route: Route, lane: str, partner: str) -> None:
        """Remember where a look-up led, and whose access point that is."""
        self._routes[route] = lane
        self._partners.setdefault(partner, set()).add(lane)

    def prime(self, waiting: Iterable[tuple[str, str]]) -> None:
        """Take up after a restart the lanes, each with its partner, in which messages wait to be tried again."""
        for lane, partner in waiting:
            self._partners.setdefault(partner, set()).add(lane)
            self._lane(lane).waiting = True

    # Who may go

    def room(self, lane: str, now: datetime) -> int:
        """How many more messages may go there now, the share of all lanes aside."""
        state = self._lane(lane)
        if state.closed_until is None:
            return max(0, state.window - state.in_flight)
        return 1 if state.in_flight == 0 and now >= state.closed_until else 0

    def share(
        self, heads: Sequence[tuple[str, datetime]], *, now: datetime, free: int
    ) -> dict[str, int]:
        """Deal `free` slots to the lanes whose first message is due, one to each in turn.

        `heads` is each lane with the time its first message falls due. The turn goes on after the lane that had
        the last slot.
        """
        due = sorted(lane for lane, at in heads if at <= now)
        turn = [lane for lane in due if lane > self._last] + [
            lane for lane in due if lane <= self._last
        ]
        room = {lane: self.room(lane, now) for lane in turn}
        unproven = max(1, self._total // 2) - sum(
            state.in_flight for state in self._lanes.values() if not state.proven
        )
        dealt: Counter[str] = Counter()
        gone_round = True
        while free > 0 and gone_round:
            gone_round = False
            for lane in turn:
                proven = self._lane(lane).proven
                if free > 0 and dealt[lane] < room[lane] and (proven or unproven > 0):
                    dealt[lane] += 1
                    free -= 1
                    unproven -= not proven
                    gone_round = True
                    self._last = lane
        return dict(dealt)

    def next_at(self, heads: Sequence[tuple[str, datetime]], *, now: datetime) -> datetime | None:
        """When something can go that cannot go now, unless an answer comes first; None when only that helps."""
        times = []
        for lane, due in heads:
            closed_until = self._lane(lane).closed_until
            at = due if closed_until is None else max(due, closed_until)
            if at > now and (closed_until is None or self._lane(lane).in_flight == 0):
                times.append(at)
        return min(times, default=None)

    # What happens

    def enter(self, lane: str) -> None:
        """Count a message in that now holds a slot there."""
        self._lane(lane).in_flight += 1

    def leave(self, lane: str, *, now: datetime) -> None:
        """Count it out; a probe that came to nothing, neither answer nor failure, leaves the lane closed as before."""
        state = self._lane(lane)
        state.in_flight -= 1
        if state.closed_until is not None and now >= state.closed_until and not state.in_flight:
            self._close(state, now)

    def answered(self, lane: str) -> None:
        """The destination lives: open its window by one, or bring it back."""
        state = self._lane(lane)
        state.window = FIRST_WINDOW if state.dead else state.window + 1
        state.window = min(state.window, self._per_lane)
        state.proven, state.vain, state.closed_until = True, 0, None
        self._wake(lane)

    def failed(self, lane: str, *, now: datetime) -> bool:
        """The destination did not answer: halve its window, and close it at nothing; answers whether it is dead.

        What was in flight when it died says nothing new and does not lengthen the back-off.
        """
        state = self._lane(lane)
        state.proven, state.waiting = False, True
        if state.closed_until is not None and now < state.closed_until:
            return True
        state.window //= 2
        if state.window > 0 or lane == UNKNOWN:
            state.window = max(1, state.window)
            return False
        state.vain += 1
        self._close(state, now)
        return True

    def _close(self, state: _Lane, now: datetime) -> None:
        """Leave a dead destination alone: half of the back-off for certain, so that probes never follow at once."""
        longest = min(self._schedule.ceiling(state.vain), LONGEST_SILENCE)
        state.closed_until = now + longest * (0.5 + 0.5 * self._schedule.draw())

    def heard(self, partner: str) -> bool:
        """The partner lives, whatever became of our messages: end the back-off of his lanes; answers whether there was any."""
        found = False
        for lane in self._partners.get(partner, ()):
            state = self._lane(lane)
            if state.dead:
                state.closed_until, state.window, state.vain = None, 1, 0
            found = self._wake(lane) or found
        return found

    def take_woken(self) -> set[str]:
        """The lanes whose messages should no longer wait for their own time; each is told once."""
        woken, self._woken = self._woken, set()
        return woken

    def _wake(self, lane: str) -> bool:
        state = self._lane(lane)
        if not state.waiting:
            return False
        state.waiting = False
        self._woken.add(lane)
        return True

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            first = self._per_lane if name == UNKNOWN else min(FIRST_WINDOW, self._per_lane)
            lane = self._lanes[name] = _Lane(window=first)
        return lane
