"""The object that the exporter asks: live values over a real server, ageing on clocks set by hand, and its thread."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from perjoule.carbon import static_intensity
from perjoule.errors import IntensityError, UsageError
from perjoule_exporter.clock import Clock
from perjoule_exporter.intensity import Carbon, CarbonSettings, Intensity, ProviderState
from perjoule_exporter.intensity.providers.provider import Request
from tests.exporter.carbon_server import Answer, Asked, FarEnd, far_end
from tests.exporter.running import wait_until

NOON = 1.8e9  # 2027-01-15T08:00:00Z
HOUR = 3600.0
UK = CarbonSettings(zone="GBR", provider="uk")


@dataclass
class Hands:
    """Both clocks, set by hand."""

    monotonic: float = 1000.0
    wall: float = NOON

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.monotonic, lambda: self.wall)

    def go(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(seconds))


def half_hour(grams: float, start: float = NOON) -> bytes:
    values = {"forecast": grams, "actual": None, "index": "low"}
    return json.dumps({"data": [{"from": stamp(start), "to": stamp(start + 1800), "intensity": values}]}).encode()


def rate(pounds: float, start: float = NOON) -> bytes:
    meta = {"region": "CAISO_NORTH", "signal_type": "co2_moer", "units": "lbs_co2_per_mwh"}
    return json.dumps({"data": [{"point_time": stamp(start), "value": pounds}], "meta": meta}).encode()


class Network:
    """Where the network begins: a function from request to body. Tests that need HTTP itself use the far end."""

    def __init__(self) -> None:
        self.body: bytes | Exception = half_hour(200.0)
        self.requests: list[Request] = []
        self.came = threading.Semaphore(0)

    def __call__(self, request: Request) -> bytes:
        self.requests.append(request)
        self.came.release()
        if isinstance(self.body, Exception):
            raise self.body
        return self.body

    def wait(self) -> None:
        assert self.came.acquire(timeout=10), "nobody asked"


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def end() -> Iterator[FarEnd]:
    with far_end() as running:
        yield running


@pytest.fixture
def started(hands: Hands, network: Network) -> Iterator[Callable[[CarbonSettings], Carbon]]:
    """Give a function that makes and starts them; they end with the test."""
    made: list[Carbon] = []

    def start(settings: CarbonSettings) -> Carbon:
        made.append(Carbon(settings, hands.clock, network, lambda: 0.5))
        made[-1].start()
        return made[-1]

    yield start
    for carbon in made:
        carbon.close()


def grams_of(carbon: Carbon) -> float | None:
    found = carbon.current()
    return None if found is None else found.grams_per_kwh


def poll(carbon: Carbon) -> float:
    """Ask once, in this thread, and return the seconds to the next time."""
    assert carbon._poller is not None
    return carbon._poller.poll()


def test_no_zone_no_factor(hands: Hands) -> None:
    """No intensity, no grams; the PUE stays readable."""
    carbon = Carbon(CarbonSettings(pue=1.5), hands.clock)
    assert (carbon.current(), carbon.grams_per_joule(), carbon.static, carbon.settings.pue) == (None, None, None, 1.5)


def test_a_static_zone_asks_nobody(hands: Hands, network: Network) -> None:
    """The yearly average holds from the start and for ever, with the PUE in the grams; no thread is started."""
    carbon = Carbon(CarbonSettings(zone="fra", pue=1.2), hands.clock, network)
    threads = threading.active_count()
    carbon.start()
    assert threading.active_count() == threads
    hands.go(10 * 365 * 24 * HOUR)
    found = carbon.current()
    assert found == Intensity("FRA", "static", "average", 56.039, 1704067200.0, estimated=False)
    assert carbon.grams_per_joule() == pytest.approx(56.039 * 1.2 / 3.6e6)
    assert carbon.static == static_intensity("FRA")
    assert network.requests == []
    carbon.close()


def test_before_the_first_answer_the_average_holds(hands: Hands, network: Network) -> None:
    """A live provider that has not been asked yet has no value of its own."""
    found = Carbon(UK, hands.clock, network).current()
    assert found is not None
    assert (found.zone, found.provider) == ("GBR", "static")


def test_a_live_value_serves_ages_and_gives_way(
    hands: Hands, network: Network, started: Callable[[CarbonSettings], Carbon]
) -> None:
    """Its own labels while it is young enough, the average's after that, its own again when it is back."""
    carbon = started(replace(UK, pue=1.5))
    wait_until(lambda: grams_of(carbon) == 200.0, "the first answer counts")
    assert carbon.current() == Intensity("GBR", "uk", "average", 200.0, NOON, estimated=True)
    assert carbon.grams_per_joule() == pytest.approx(200.0 * 1.5 / 3.6e6)
    hands.go(2 * HOUR)
    assert grams_of(carbon) == 200.0
    hands.go(1)
    found = carbon.current()
    assert found is not None
    assert (found.provider, found.zone, found.grams_per_kwh) == ("static", "GBR", static_intensity("GBR").grams_per_kwh)
    network.body = half_hour(150.0, hands.wall)
    assert poll(carbon) == 900.0
    assert grams_of(carbon) == 150.0


def test_the_wall_clock_steps(hands: Hands, started: Callable[[CarbonSettings], Carbon]) -> None:
    """Back a day: the value serves its two hours and no more. Forth a day: it is too old at once."""
    carbon = started(UK)
    wait_until(lambda: grams_of(carbon) == 200.0, "the first answer counts")
    hands.wall -= 24 * HOUR
    assert grams_of(carbon) == 200.0
    hands.go(2 * HOUR + 1)
    assert grams_of(carbon) == static_intensity("GBR").grams_per_kwh
    hands.wall += 48 * HOUR
    assert grams_of(carbon) == static_intensity("GBR").grams_per_kwh


@pytest.mark.parametrize(
    ("start", "sentence"),
    [(NOON + HOUR, "is the clock of this machine right?"), (NOON - 3 * HOUR, "has no newer value than one of 3 h ago")],
)
def test_values_of_another_time(
    hands: Hands,
    network: Network,
    started: Callable[[CarbonSettings], Carbon],
    caplog: pytest.LogCaptureFixture,
    start: float,
    sentence: str,
) -> None:
    """Of the future, or older than may serve: no values, said once, and asked for again as after any failure."""
    network.body = half_hour(200.0, start)
    carbon = started(UK)
    network.wait()
    wait_until(lambda: sentence in caplog.text, "it is said")
    assert poll(carbon) == pytest.approx(60 * 1.05)
    assert grams_of(carbon) == static_intensity("GBR").grams_per_kwh
    assert len(caplog.records) == 1
    assert hands.wall == NOON


def test_failing_and_back_are_said_once(
    network: Network, started: Callable[[CarbonSettings], Carbon], caplog: pytest.LogCaptureFixture
) -> None:
    """One line for a row of failures of any kind, one when it is over; the pauses double, Retry-After is kept."""
    caplog.set_level("INFO")
    carbon = started(UK)
    wait_until(lambda: grams_of(carbon) == 200.0, "the first answer counts")
    failures: list[tuple[Exception, float]] = [
        (IntensityError("answered with status 500", 500), 30),
        (IntensityError("does not answer in time"), 60),
        (IntensityError("answered with status 429", 429, 7200.0), 7200),
        (KeyError("s3cret"), 240),
    ]
    for failure, pause in failures:
        network.body = failure
        assert poll(carbon) == pytest.approx(pause * 1.05)
    assert grams_of(carbon) == 200.0
    network.body = half_hour(150.0)
    assert poll(carbon) == 900.0
    assert grams_of(carbon) == 150.0
    failing = (
        "carbon intensity: the UK Carbon Intensity API answered with status 500; its last value serves until it is 2 h "
        "old, then the yearly average of 2023"
    )
    assert [record.getMessage() for record in caplog.records] == [
        failing,
        "carbon intensity: the UK Carbon Intensity API answers again",
    ]


def test_a_provider_that_never_answered_has_no_last_value(
    network: Network, started: Callable[[CarbonSettings], Carbon], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what counts meanwhile, and whoever looks at the factors sees that it was asked for in vain."""
    network.body = IntensityError("cannot be reached: Connection refused")
    carbon = started(UK)
    wait_until(lambda: caplog.records, "it is said")
    assert caplog.records[0].getMessage() == (
        "carbon intensity: the UK Carbon Intensity API cannot be reached: Connection refused; it has given no value "
        "yet: the yearly average of 2023 (237.589 g/kWh) counts meanwhile"
    )
    assert carbon.factors().asked == ProviderState(
        "uk", answered=False, failure="cannot be reached: Connection refused"
    )
    network.body = half_hour(150.0)
    poll(carbon)
    assert carbon.factors().asked == ProviderState("uk", answered=True, failure=None)


def test_a_value_that_is_too_old_is_not_said_to_serve(
    network: Network, hands: Hands, started: Callable[[CarbonSettings], Carbon], caplog: pytest.LogCaptureFixture
) -> None:
    """A first failure after a long pause: the average counts, and not the last value."""
    carbon = started(UK)
    wait_until(lambda: grams_of(carbon) == 200.0, "the first answer counts")
    hands.go(3 * HOUR)
    network.body = IntensityError("does not answer in time")
    poll(carbon)
    assert caplog.text.rstrip().endswith("its last value is too old: the yearly average of 2023 (237.589 g/kWh) counts "
                                         "meanwhile")  # fmt: skip


def test_nobody_is_asked_by_static_settings(started: Callable[[CarbonSettings], Carbon]) -> None:
    """No provider, nothing to say of it; neither before the first question of a live one."""
    assert started(CarbonSettings(zone="FRA")).factors().asked is None
    assert Carbon(UK).factors().asked is None


def test_a_second_row_of_failures_is_said_again(
    network: Network, started: Callable[[CarbonSettings], Carbon], caplog: pytest.LogCaptureFixture
) -> None:
    """After a success the pauses begin anew, and so does the log."""
    carbon = started(UK)
    wait_until(lambda: grams_of(carbon) == 200.0, "the first answer counts")
    for _ in range(2):
        network.body = IntensityError("answered with status 500", 500)
        assert [poll(carbon), poll(carbon)] == pytest.approx([31.5, 63.0])
        network.body = half_hour(200.0)
        poll(carbon)
    assert len(caplog.records) == 2


def test_a_fault_of_ours_is_survived_without_its_text(
    network: Network, started: Callable[[CarbonSettings], Carbon], caplog: pytest.LogCaptureFixture
) -> None:
    """What a library says may hold the header that it refused: only its kind is logged, and asking goes on."""
    network.body = ValueError("Invalid header value b's3cret'")
    carbon = started(UK)
    wait_until(lambda: "a fault of perjoule (ValueError)" in caplog.text, "it is said")
    assert "s3cret" not in caplog.text
    network.body = half_hour(200.0)
    poll(carbon)
    assert grams_of(carbon) == 200.0


# --- over HTTP -------------------------------------------------------------------------------------------------------


def over(end: FarEnd, settings: CarbonSettings, hands: Hands) -> Carbon:
    return Carbon(replace(settings, url=end.url), hands.clock, random=lambda: 0.5)


def test_a_value_over_http(end: FarEnd, hands: Hands) -> None:
    """From the socket to grams."""
    end.answer = Answer(body=half_hour(166.0))
    carbon = over(end, UK, hands)
    carbon.start()
    wait_until(lambda: grams_of(carbon) == 166.0, "the answer counts")
    assert end.asked[0].path == "/intensity"
    carbon.close()


def test_close_does_not_wait_for_a_hanging_request(end: FarEnd, hands: Hands) -> None:
    """It returns at once, and what the request brings later counts no more."""
    release = threading.Event()

    def late(_: Asked) -> Answer:
        release.wait(10)
        return Answer(body=half_hour(166.0))

    end.answer = late
    carbon = over(end, UK, hands)
    carbon.start()
    end.wait()
    asking = next(thread for thread in threading.enumerate() if thread.name == "carbon")
    began = time.monotonic()
    carbon.close()
    assert time.monotonic() - began < 1
    assert asking.daemon
    release.set()
    asking.join(10)
    assert not asking.is_alive()
    assert grams_of(carbon) == static_intensity("GBR").grams_per_kwh


def test_a_token_is_read_from_its_file_each_time(
    end: FarEnd, hands: Hands, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused token is one line that names the file; a new one in the file works without a restart."""
    token = tmp_path / "token"
    token.write_text("0ld-s3cret\n")
    token.chmod(0o600)
    value = {"zone": "FR", "carbonIntensity": 50, "datetime": stamp(NOON), "isEstimated": False}
    end.answer = lambda asked: (
        Answer(body=json.dumps(value).encode()) if asked.headers["auth-token"] == "n3w-s3cret" else Answer(401)
    )
    settings = CarbonSettings(zone="FRA", provider="electricitymaps", token_file=token)
    carbon = over(end, settings, hands)
    carbon.start()
    wait_until(lambda: f"answered with status 401: is what {token} holds right?" in caplog.text, "it is said")
    token.write_text("n3w-s3cret\n")
    poll(carbon)
    assert grams_of(carbon) == 50.0
    carbon.close()
    assert "s3cret" not in caplog.text + repr(carbon) + repr(vars(carbon)) + repr(carbon.settings)


def test_a_token_file_must_be_there_at_the_start(hands: Hands, tmp_path: Path) -> None:
    """And be one: a usage error, before anyone is asked."""
    settings = CarbonSettings(zone="FRA", provider="ember", token_file=tmp_path / "none")
    with pytest.raises(UsageError, match="none does not exist"):
        Carbon(settings, hands.clock)


WATTTIME = CarbonSettings(zone="US-CA", provider="watttime", region="CAISO_NORTH")


class WattTime:
    """Its far end: logs in user:pass, and takes the tokens that it gave until it forgets them."""

    def __init__(self, end: FarEnd) -> None:
        self.given: list[str] = []
        self.valid: set[str] = set()
        end.answer = self.answer

    def answer(self, asked: Asked) -> Answer:
        authorization = asked.headers.get("authorization", "")
        if asked.path == "/login":
            if authorization != "Basic dXNlcjpwYXNz":  # user:pass
                return Answer(403)
            self.given.append(f"token{len(self.given)}")
            self.valid.add(self.given[-1])
            return Answer(body=json.dumps({"token": self.given[-1]}).encode())
        known = authorization.removeprefix("Bearer ") in self.valid
        return Answer(body=rate(870.0)) if known else Answer(401)


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "watttime"
    path.write_text("user:pass\n")
    path.chmod(0o600)
    return path


def test_watttime_logs_in_and_stays_in(end: FarEnd, hands: Hands, credentials: Path) -> None:
    """One login for 25 minutes of questions, a new one then, when the service forgot it, and for other credentials."""
    service = WattTime(end)
    carbon = over(end, replace(WATTTIME, token_file=credentials), hands)
    carbon.start()
    wait_until(lambda: grams_of(carbon) is not None, "the first answer counts")
    assert carbon.current() == Intensity("CAISO_NORTH", "watttime", "marginal", 870 * 0.45359237, NOON, estimated=True)
    poll(carbon)
    assert service.given == ["token0"]
    hands.go(1500)
    poll(carbon)
    assert service.given == ["token0", "token1"]
    service.valid.clear()
    poll(carbon)
    assert service.given == ["token0", "token1", "token2"]
    assert [asked.path.split("?")[0] for asked in end.asked].count("/v3/forecast") == 5
    credentials.write_text("other:pass\n")
    poll(carbon)
    assert (end.asked[-1].path, end.asked[-1].headers["authorization"]) == ("/login", "Basic b3RoZXI6cGFzcw==")
    carbon.close()


def test_watttime_refuses_for_good(
    end: FarEnd, hands: Hands, credentials: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that is refused right after its login is asked for once more and no oftener."""
    service = WattTime(end)
    carbon = over(end, replace(WATTTIME, token_file=credentials), hands)
    carbon.start()
    wait_until(lambda: grams_of(carbon) is not None, "the first answer counts")
    before = len(end.asked)
    end.answer = lambda asked: service.answer(asked) if asked.path == "/login" else Answer(401)
    poll(carbon)
    assert len(end.asked) - before == 3
    assert "status 401" in caplog.text
    credentials.write_text("user:wrong\n")
    poll(carbon)
    carbon.close()


def test_watttime_refuses_a_new_token(end: FarEnd, hands: Hands, credentials: Path) -> None:
    """One login and one question: a token that was never any good is not asked for twice."""
    service = WattTime(end)
    end.answer = lambda asked: service.answer(asked) if asked.path == "/login" else Answer(401)
    carbon = over(end, replace(WATTTIME, token_file=credentials), hands)
    carbon.start()
    end.wait()
    end.wait()
    carbon.close()
    poller_asked = len(end.asked)
    assert [asked.path.split("?")[0] for asked in end.asked[:poller_asked]] == ["/login", "/v3/forecast"]


def test_no_average_takes_over_from_a_marginal_value(
    end: FarEnd, hands: Hands, credentials: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When it is too old there is no factor at all: emissions pause, and the log says that they will."""
    WattTime(end)
    carbon = over(end, replace(WATTTIME, token_file=credentials), hands)
    assert carbon.current() is None
    carbon.start()
    wait_until(lambda: grams_of(carbon) is not None, "the first answer counts")
    hands.go(2 * HOUR)
    assert carbon.grams_per_joule() is not None
    end.answer = Answer(500)
    poll(carbon)
    hands.go(1)
    assert (carbon.current(), carbon.grams_per_joule()) == (None, None)
    assert "serves until it is 2 h old, then emissions pause" in caplog.text
    carbon.close()


# --- cache and other settings ----------------------------------------------------------------------------------------


def test_a_restart_does_not_ask_again(
    hands: Hands, network: Network, started: Callable[[CarbonSettings], Carbon], tmp_path: Path
) -> None:
    """The cached value serves at once and as long as it would have; ``until_next`` says when the next question is."""
    settings = replace(UK, cache=tmp_path / "cache.json")
    first = started(settings)
    wait_until((tmp_path / "cache.json").exists, "the value is stored")
    first.close()
    hands.go(300)
    hands.monotonic = 5.0  # another process, perhaps another boot
    second = started(settings)
    assert grams_of(second) == 200.0
    assert len(network.requests) == 1
    hands.go(2 * HOUR - 300 + 1)
    assert grams_of(second) == static_intensity("GBR").grams_per_kwh


def test_a_cached_value_that_is_too_old_is_asked_for_at_once(
    hands: Hands, network: Network, started: Callable[[CarbonSettings], Carbon], tmp_path: Path
) -> None:
    """It never serves."""
    settings = replace(UK, cache=tmp_path / "cache.json")
    started(settings)
    wait_until((tmp_path / "cache.json").exists, "the value is stored")
    hands.go(3 * HOUR)
    network.body = IntensityError("does not answer in time")
    carbon = started(settings)
    network.wait()
    network.wait()
    assert grams_of(carbon) == static_intensity("GBR").grams_per_kwh


def test_other_settings_keep_a_value_of_the_same_source(
    hands: Hands, network: Network, started: Callable[[CarbonSettings], Carbon]
) -> None:
    """Another PUE or age applies at once, and nobody is asked again for it."""
    carbon = started(UK)
    wait_until(lambda: grams_of(carbon) == 200.0, "the first answer counts")
    carbon.reconfigured(replace(UK, pue=2.0, max_age_seconds=HOUR))
    assert carbon.grams_per_joule() == pytest.approx(200.0 * 2 / 3.6e6)
    assert len(network.requests) == 1
    hands.go(HOUR + 1)
    assert grams_of(carbon) == static_intensity("GBR").grams_per_kwh


def test_other_settings_drop_a_value_of_another_source(
    network: Network, started: Callable[[CarbonSettings], Carbon]
) -> None:
    """Another region is another value: the average holds until it is there. Static stops the asking."""
    carbon = started(UK)
    wait_until(lambda: grams_of(carbon) == 200.0, "the first answer counts")
    network.body = IntensityError("does not answer in time")
    network.wait()
    carbon.reconfigured(replace(UK, region="13"))
    network.wait()
    assert network.requests[-1].url.endswith("/regional/regionid/13")
    assert grams_of(carbon) == static_intensity("GBR").grams_per_kwh
    carbon.reconfigured(CarbonSettings(zone="FRA"))
    found = carbon.current()
    assert found is not None
    assert (found.zone, found.provider) == ("FRA", "static")
    assert carbon._poller is None


def test_other_settings_that_cannot_be_honoured_change_nothing(
    started: Callable[[CarbonSettings], Carbon], credentials: Path
) -> None:
    """A usage error, and the old ones go on: nonsense, a missing file, and marginal where average was counted."""
    carbon = started(UK)
    wait_until(lambda: grams_of(carbon) == 200.0, "the first answer counts")
    for settings, sentence in (
        (replace(UK, zone="FRA"), "--carbon.zone GBR"),
        (CarbonSettings(zone="FRA", provider="ember", token_file=Path("/none")), "does not exist"),
        (replace(WATTTIME, token_file=credentials), "never mixed in one counter, so this needs a restart"),
    ):
        with pytest.raises(UsageError, match=sentence):
            carbon.reconfigured(settings)
        assert carbon.settings == UK
        assert grams_of(carbon) == 200.0


def test_a_basis_is_not_changed_by_way_of_no_zone(
    started: Callable[[CarbonSettings], Carbon], credentials: Path
) -> None:
    """What was counted stays counted while there is no zone; a first basis may be any."""
    carbon = started(CarbonSettings())
    carbon.reconfigured(CarbonSettings(zone="FRA"))
    carbon.reconfigured(CarbonSettings())
    with pytest.raises(UsageError, match="never mixed"):
        carbon.reconfigured(replace(WATTTIME, token_file=credentials))


def test_many_threads_see_whole_values(
    hands: Hands, network: Network, started: Callable[[CarbonSettings], Carbon]
) -> None:
    """Readers never see the grams of one setting with the PUE of another, while both change all the time."""
    carbon = started(UK)
    wait_until(lambda: grams_of(carbon) == 200.0, "the first answer counts")
    allowed = {200.0 * pue / 3.6e6 for pue in (1.0, 2.0)} | {static_intensity("FRA").grams_per_kwh * 4 / 3.6e6}
    seen: set[float | None] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(carbon.grams_per_joule())

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(10):
        carbon.reconfigured(replace(UK, pue=2.0))
        carbon.reconfigured(UK)
    done.set()
    for reader in readers:
        reader.join(10)
    assert {None if value is None else round(value, 12) for value in seen} <= {round(value, 12) for value in allowed}
    assert hands.wall == NOON
    assert network.requests
