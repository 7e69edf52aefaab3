"""What the last requests cost, by their ids. Bounded; the oldest are forgotten."""

from collections import OrderedDict

from perjoule_server.cost import Cost


class Recent:
    """The last ``most`` requests. Called under its owner's lock, but for ``find``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._costs: OrderedDict[str, Cost] = OrderedDict()
        self._by_name: dict[str, Cost] = {}

    def add(self, cost: Cost) -> None:
        """Remember a request, under its client's id and under that of its spans."""
        if self._most == 0:
            return
        self._costs[cost.request] = cost
        self._by_name[cost.name] = cost
        if len(self._costs) > self._most:
            _, oldest = self._costs.popitem(last=False)
            if self._by_name.get(oldest.name) is oldest:
                del self._by_name[oldest.name]

    def find(self, name: str) -> Cost | None:
        """Return the request of this id: the newest of a client's, or that of an exemplar. Any thread may ask."""
        return self._by_name.get(name) or self._costs.get(name)

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._costs)
