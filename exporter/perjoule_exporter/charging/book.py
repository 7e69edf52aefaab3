"""All accounts: what clients tell goes to the device that it is about, under the lock of the sums.

It knows neither bytes nor sockets, nor how devices are read. Which devices there are it is told when they are found;
those that can be charged for are GPUs and CPU packages. Memory and zones that overlap packages are not: no span can say
how much of a batch ran there.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from perjoule_exporter.charging.account import Account
from perjoule_exporter.charging.kept import go_on
from perjoule_exporter.charging.settings import IdleWatts
from perjoule_exporter.clock import Clock
from perjoule_exporter.ledger import Clients, Kind, Ledger, Owner, Owners, Settled, Snapshot
from perjoule_exporter.meters import Device, DeviceKind, FollowsWork, Work
from perjoule_exporter.spans import Announced, Charged, Closed, KnownWatts, Opened, Refused, Told
from perjoule_exporter.track import Track

_LOG = logging.getLogger(__name__)


GRACE_SECONDS = 0.08
"""How long lines of a time may take to come: 10 ms in the client, 20 ms in the socket, the rest for a busy machine.

One that comes later costs its request's figure. Two ticks of 100 ms and this are what a client waits for a settlement.
"""

MOST_GRACE_SECONDS = 0.2
"""The same while lines come late. With a tick of 100 ms and its reading it is still within what clients wait."""


class Charging:
    """The ledgers of a program. It is the span socket's ``Book``."""

    def __init__(
        self, idle: IdleWatts, clock: Clock, lock: threading.Lock, began: Callable[[], None] = lambda: None
    ) -> None:
        """``lock`` is what the devices' sums are changed under; ``began`` is called when the first client comes."""
        self._began: Callable[[], None] | None = began
        self._idle = idle
        self._clock = clock
        self._lock = lock
        self._owners = Owners()
        self._connected = Clients()
        self._settled_at: float | None = None
        self._announced: dict[Owner, None] = {}
        self._clients: set[int] = set()
        self._followers: tuple[FollowsWork, ...] = ()
        self._accounts: dict[str, Account] = {}
        self._tracks: dict[str, Track] = {}

    def followed_by(self, meters: Sequence[FollowsWork]) -> None:
        """Tell these meters of all work from now on."""
        self._followers = tuple(meters)

    def adopt(self, track: Track) -> None:
        """Open the account of a device that was found, if it can be charged for. The lock is held."""
        device = track.device
        if not _chargeable(device):
            return
        ledger = self._ledger(device, track)
        account = Account(ledger, self._settle_all)
        for owner in self._announced:
            account.announced(*owner)
        account.attend(attentive=bool(self._clients))
        self._accounts[device.uuid] = account
        self._tracks[device.uuid] = track
        track.charger = account

    def attended(self, device: Device) -> bool:
        """Return whether it matters exactly when this device's counter moves."""
        account = self._accounts.get(device.uuid)
        return account is not None and account.awaiting

    # The span socket's book

    def devices(self) -> Sequence[Charged]:
        """Return the devices whose energy is shared out."""
        found = [track.device for track in list(self._tracks.values())]
        return [Charged(device.uuid, _kind(device), device.method) for device in found]

    def watts(self) -> Sequence[KnownWatts]:
        """Return what is known well enough to estimate with. Asked twice a second while there are clients."""
        now = self._clock.monotonic()
        with self._lock:
            shown = [(uuid, account.shown(now)) for uuid, account in self._accounts.items()]
        return [known for uuid, snapshot in shown if snapshot is not None for known in _known(uuid, snapshot)]

    def take(self, client: int, told: Sequence[Told], now: float) -> Sequence[Refused]:
        """Take over what one client told, in this order."""
        refused: list[Refused] = []
        with self._lock:
            self._attend(client)
            for each in told:
                if isinstance(each, Announced):
                    self._announce(each.owners)
                    continue
                wrong = self._span(client, each, now)
                if wrong is not None:
                    refused.append(wrong)
        return refused

    def left(self, client: int, now: float) -> None:
        """Take over that a client is gone."""
        with self._lock:
            self._clients.discard(client)
            for meter in self._followers:
                meter.work_left(client, now)
            self._connected.left(client, now)
            if not self._clients:
                for account in self._accounts.values():
                    account.attend(attentive=False)

    def settled(self) -> Sequence[Settled]:
        """Return the spans that asked for what they were given and have settled since the last call."""
        if not any(account.settled for account in list(self._accounts.values())):
            return ()
        found: list[Settled] = []
        with self._lock:
            for account in self._accounts.values():
                found += account.settled
                account.settled = []
        return found

    def _attend(self, client: int) -> None:
        if client not in self._clients:
            if not self._clients:
                for account in self._accounts.values():
                    account.attend(attentive=True)
            self._clients.add(client)
            self._connected.came(client)
        if self._began is not None:
            self._began()
            self._began = None

    def _settle_all(self, now: float) -> None:
        """Settle all accounts by one moment, before the first of them is shown."""
        if now != self._settled_at:
            self._settled_at = now
            for account in self._accounts.values():
                account.settle(now)

    def _announce(self, owners: Sequence[Owner]) -> None:
        for owner in owners:
            self._announced[self._owners.owner(owner)] = None
            for account in self._accounts.values():
                account.announced(*owner)

    def _span(self, client: int, each: Opened | Closed, now: float) -> Refused | None:
        """Take over that a span begins or ends; return what is wrong with it."""
        account = self._accounts.get(each.device)
        if account is None:
            return Refused(each.number, f"{each.device} is not a device whose energy is shared out here")
        self._tell(client, each)
        if isinstance(each, Opened):
            return account.opened(client, each.number, each.kind, each.start, now)
        return account.closed(client, each.number, each.end, each.shares, now, reply=each.reply)

    def _tell(self, client: int, each: Opened | Closed) -> None:
        for meter in self._followers:
            if isinstance(each, Opened):
                meter.work_opened(each.device, (client, each.number), Work(*each.kind), each.start)
            else:
                meter.work_closed(each.device, (client, each.number), each.end)

    def _ledger(self, device: Device, track: Track) -> Ledger:
        idle, total = self._idle.of(device), track.energy.total or 0
        ledger = self._new(idle)
        try:
            go_on(ledger, track.kept_charges, total, with_grams=track.energy.grams is not None)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            _LOG.warning("what was charged of %s is of no use, it starts at 0: %r", device.uuid, error)
            ledger = self._new(idle)
            go_on(ledger, None, total, with_grams=False)
        return ledger

    def _new(self, idle: float | None) -> Ledger:
        return Ledger(self._owners, idle, clients=self._connected, grace=GRACE_SECONDS, most_grace=MOST_GRACE_SECONDS)


def _chargeable(device: Device) -> bool:
    return device.kind is DeviceKind.GPU or (device.kind is DeviceKind.CPU and device.scope.startswith("package"))


def _kind(device: Device) -> str:
    return "gpu" if device.kind is DeviceKind.GPU else "cpu"


def _known(uuid: str, snapshot: Snapshot) -> list[KnownWatts]:
    return [
        KnownWatts(uuid, Kind(*learned.kind), learned.watts)
        for learned in snapshot.learned
        if not learned.low_confidence
    ]
