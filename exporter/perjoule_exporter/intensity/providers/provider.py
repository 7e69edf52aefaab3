"""What a provider is made of: facts and four pure functions. The files beside this one hold one each."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from perjoule_exporter.intensity.secret import Secret
from perjoule_exporter.intensity.value import Basis, Intensity

Needs = Literal["", "token", "user:password"]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: ``zone`` is the label of the answer, ``region`` its name in the provider's spelling.

    ``now`` is Unix seconds. ``secret`` is the token, or what a login gave for it.
    """

    base_url: str
    zone: str
    region: str
    now: float
    secret: Secret | None = None

    def token(self) -> str:
        """Return the secret's text, empty where none is needed."""
        return "" if self.secret is None else self.secret.reveal()


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP GET. Neither part is shown: a key may be in either."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


@dataclass(frozen=True, slots=True)
class Login:
    """How credentials become a token that lasts ``seconds``."""

    request: Callable[[Query], Request]
    token: Callable[[bytes], Secret]
    seconds: float


@dataclass(frozen=True, slots=True)
class Provider:
    """One source of live intensities.

    ``needs`` is what the token file must hold, empty for nothing. ``region`` turns our zone code and the user's own
    spelling (or None) into the provider's, raising UsageError with what to write. ``parse`` raises IntensityError.
    """

    name: str
    title: str
    basis: Basis
    base_url: str
    needs: Needs
    interval_seconds: float
    max_age_seconds: float
    region: Callable[[str, str | None], str]
    request: Callable[[Query], Request]
    parse: Callable[[bytes, Query], Intensity]
    login: Login | None = None


def basic(credentials: str) -> str:
    """Return the value of an Authorization header for ``user:password``."""
    return "Basic " + base64.b64encode(credentials.encode()).decode("ascii")
