"""The carbon factors in force: grid intensity of a zone, static or live, and the site's PUE.

``Carbon`` is what the rest of the exporter sees; ``CarbonSettings`` is what makes one. Inside: ``value`` (what an
intensity is), ``providers`` (whom to ask, and how an answer reads), ``force`` (which value holds at an instant),
``poll``, ``ask`` and ``fetch`` (the thread and the network), ``cache`` and ``secret`` (the two files), ``kept`` (what a
restart may go on from).
"""

from perjoule_exporter.intensity.carbon import Carbon
from perjoule_exporter.intensity.factors import Factors, ProviderState
from perjoule_exporter.intensity.flags import add_carbon_flags, carbon_settings
from perjoule_exporter.intensity.settings import PROVIDER_NAMES, CarbonSettings
from perjoule_exporter.intensity.value import Intensity

__all__ = [
    "PROVIDER_NAMES",
    "Carbon",
    "CarbonSettings",
    "Factors",
    "Intensity",
    "ProviderState",
    "add_carbon_flags",
    "carbon_settings",
]
