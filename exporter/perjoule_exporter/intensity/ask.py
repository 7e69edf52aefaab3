"""One question to a provider, from the token file to a checked value.

It knows logins and their end, and what to hold an answer against. When to ask again is not its business.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from perjoule.errors import IntensityError
from perjoule_exporter.clock import Clock
from perjoule_exporter.intensity.force import FUTURE_SECONDS
from perjoule_exporter.intensity.providers.provider import Login, Query, Request
from perjoule_exporter.intensity.secret import Secret, TokenFile
from perjoule_exporter.intensity.settings import Source, span
from perjoule_exporter.intensity.value import Intensity

Fetch = Callable[[Request], bytes]

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404


@dataclass(frozen=True, slots=True)
class _Session:
    """A token that a login gave for ``credentials``, until ``end`` on the monotonic clock."""

    credentials: Secret
    token: Secret
    end: float


class Asker:
    """Asks one source, keeping the token of a login between questions."""

    def __init__(self, source: Source, fetch: Fetch, clock: Clock) -> None:
        self._source = source
        self._fetch = fetch
        self._clock = clock
        needs = source.provider.needs
        self._token_file = TokenFile(source.token_file, needs) if needs and source.token_file is not None else None
        self._session: _Session | None = None

    def check_token(self) -> None:
        """Read the token file once.

        Raises:
            IntensityError: it cannot be used.
        """
        if self._token_file is not None:
            self._token_file.read()

    def ask(self) -> Intensity:
        """Return the provider's value of now.

        Raises:
            IntensityError: there is none that may be used. The message holds no secret.
        """
        source = self._source
        secret = None if self._token_file is None else self._token_file.read()
        query = Query(source.base_url, source.zone, source.region, self._clock.wall(), secret)
        try:
            found = self._answer(query)
        except IntensityError as error:
            raise self._explained(error) from None
        age = self._clock.wall() - found.valid_at
        if age < -FUTURE_SECONDS:
            raise IntensityError("answered a value of the future: is the clock of this machine right?")
        if age > source.max_age_seconds:
            raise IntensityError(f"has no newer value than one of {span(age)} ago")
        return found

    def _answer(self, query: Query) -> Intensity:
        provider = self._source.provider
        if provider.login is None or query.secret is None:
            return provider.parse(self._fetch(provider.request(query)), query)
        known = self._session is not None
        try:
            return self._with_session(query, query.secret, provider.login)
        except IntensityError as error:
            self._session = None
            if not (known and error.status == _UNAUTHORIZED):
                raise
            # The provider ended the session before its time: one new login, not more.
            return self._with_session(query, query.secret, provider.login)

    def _with_session(self, query: Query, credentials: Secret, login: Login) -> Intensity:
        session, now = self._session, self._clock.monotonic()
        if session is None or session.credentials != credentials or now >= session.end:
            session = _Session(credentials, login.token(self._fetch(login.request(query))), now + login.seconds)
            self._session = session
        provider = self._source.provider
        return provider.parse(self._fetch(provider.request(replace(query, secret=session.token))), query)

    def _explained(self, error: IntensityError) -> IntensityError:
        hint = ""
        if error.status in {_UNAUTHORIZED, _FORBIDDEN} and self._token_file is not None:
            hint = f": is what {self._token_file.path} holds right?"
        elif error.status == _NOT_FOUND:
            hint = f": does it know {self._source.region} (--carbon.region)?"
        return IntensityError(f"{error}{hint}", error.status, error.retry_after_seconds)
