"""What must not be overlooked, as one sentence each: for the landing page and the log.

Figures that are no measurement, and a carbon provider that was asked for in vain. What is merely good to know has no
banner.
"""

from collections import Counter
from collections.abc import Iterable

from perjoule_exporter.intensity import Factors
from perjoule_exporter.intensity.value import STATIC
from perjoule_exporter.view import DeviceView

REPLAYED = "REPLAYED: these joules were recorded earlier. Nothing is measured now."
ESTIMATED = "ESTIMATED: CPU energy is computed from utilisation, not measured. It compares loads on one machine."


def of_devices(views: Iterable[DeviceView]) -> dict[str, str]:
    """Return the banners of devices that are not measured, by their method."""
    methods = Counter(view.device.method for view in views)
    texts = {"simulated": simulated(methods["simulated"]), "replayed": REPLAYED, "estimated": ESTIMATED}
    return {method: text for method, text in texts.items() if methods[method]}


def simulated(count: int) -> str:
    """Return the banner of so many GPUs that do not exist."""
    them = "this GPU does not exist. Its" if count == 1 else f"these {count} GPUs do not exist. Their"
    return f"SIMULATED: {them} joules are for tests and demonstrations only."


def of_provider(factors: Factors) -> list[str]:
    """Return the banner of a live provider that fails, with what counts meanwhile."""
    asked, intensity = factors.asked, factors.intensity
    if asked is None or asked.answered is not False:
        return []
    if intensity is None:
        meanwhile = "emissions pause meanwhile"
    elif intensity.provider == STATIC:
        year = "" if factors.static is None else f" of {factors.static.year}"
        meanwhile = f"the yearly average{year} stands in"
    else:
        meanwhile = "its last value still counts"
    return [f"CARBON: {asked.provider} was asked for and {asked.failure or 'does not answer'}; {meanwhile}."]
