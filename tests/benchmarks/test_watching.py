from dataclasses import dataclass

from benchmarks.watching import Monotone, Usage, difference


@dataclass
class Process:
    """A process that uses what it is told."""

    rss: int = 30_000_000
    running: int = 6
    files: int = 5

    def rss_bytes(self) -> int:
        return self.rss

    def threads(self) -> int:
        return self.running

    def descriptors(self) -> int:
        return self.files


def test_a_counter_that_goes_back_is_found() -> None:
    """A counter, sum, count or bucket that falls is named with both values; a gauge may fall."""
    watched = Monotone()
    watched.see('a_total{gpu="0"} 5\nb_count 3\nwatts 300\n')
    watched.see('a_total{gpu="0"} 4.5\nb_count 3\nwatts 100\n')
    assert watched.went_back == ['a_total{gpu="0"}: 5, then 4.5']


def test_a_counter_that_was_away_must_not_come_back_lower() -> None:
    """A series may be withdrawn; when it is back it goes on from where it was."""
    watched = Monotone()
    for text in ('a_total{gpu="0"} 5\n', "", 'a_total{gpu="0"} 1\n'):
        watched.see(text)
    assert watched.went_back == ['a_total{gpu="0"}: 5, then 1']


def test_totals_of_a_label() -> None:
    """Counters are added up by a label."""
    watched = Monotone()
    watched.see('n_total{gpu="0",outcome="ok"} 5\nn_total{gpu="1",outcome="ok"} 7\nn_total{gpu="1",outcome="lost"} 1\n')
    assert watched.total("n_total", 'outcome="ok"') == 12.0


def test_settled_means_nothing_is_held() -> None:
    """A process has settled when it has the threads, files and series of the start; memory is judged apart."""
    start = Usage.of(Process(), "a 1\n")
    assert Usage.of(Process(rss=31_000_000), "a 2\n").settled(start)
    assert not Usage.of(Process(running=7), "a 1\n").settled(start)
    assert not Usage.of(Process(files=6), "a 1\n").settled(start)
    assert not Usage.of(Process(), "a 1\nb 1\n").settled(start)


def test_difference_names_what_came_and_went() -> None:
    """Series that came or went are counted and one is named."""
    assert difference({"a", "b"}, {"a", "b"}) == "the same"
    assert difference({"a"}, {"b", "c"}) == "2 more, such as b; 1 missing, such as a"
