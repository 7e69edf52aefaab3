"""Who can be asked for a carbon intensity. A provider is one file: how to ask, and how to read the answer, both pure.

``PROVIDERS`` is the registry of ``--carbon.provider``. What no provider knows is how a request travels, when to ask
again, and how long a value serves.
"""

from collections.abc import Mapping
from types import MappingProxyType

from perjoule_exporter.intensity.providers import electricitymaps, ember, energidataservice, uk, watttime
from perjoule_exporter.intensity.providers.provider import Provider

PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        each.name: each
        for each in (
            electricitymaps.PROVIDER,
            uk.PROVIDER,
            energidataservice.PROVIDER,
            ember.PROVIDER,
            watttime.PROVIDER,
        )
    }
)
"""Every live provider by its name."""
