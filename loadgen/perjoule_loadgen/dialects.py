"""The kinds of servers by the names that ``--api`` has for them."""

from collections.abc import Mapping
from types import MappingProxyType

from perjoule_loadgen.dialect import Dialect
from perjoule_loadgen.openai import Chat, Completions, Embeddings, Images
from perjoule_loadgen.ours import Ours
from perjoule_loadgen.tei import Tei

_ALL: tuple[Dialect, ...] = (Ours(), Completions(), Chat(), Embeddings(), Images(), Tei())

DIALECTS: Mapping[str, Dialect] = MappingProxyType({dialect.name: dialect for dialect in _ALL})
"""All but routes by template, which a file describes."""
