"""The flags of models' life and of waiting, as they are written."""

from pathlib import Path

import pytest

from perjoule.errors import UsageError
from perjoule_server.config import from_arguments
from perjoule_server.memory import expected, together, watched
from perjoule_server.profiles.own import read
from perjoule_server.tasks.base import ModelSpec
from tests.server.life.helpers import MEGABYTE, WeightyTask


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("800M", 800_000_000),
        ("16G", 16 * 10**9),
        ("1.5G", 1_500_000_000),
        ("24GiB", 24 * 2**30),
        ("2KB", 2000),
    ],
)
def test_sizes_are_read_as_they_are_written(text: str, size: int) -> None:
    """Bytes, or with the units of disks or of memory."""
    assert from_arguments(["--memory-budget", text]).memory_budget == size


def test_defaults_load_everything_at_once_and_wait_for_nobody() -> None:
    """As without the flags."""
    config = from_arguments([])
    assert (config.load, config.memory_budget, config.max_wait_seconds) == ("eager", None, 0.0)
    config = from_arguments(["--load", "lazy", "--max-wait-ms", "2.5"])
    assert (config.load, config.max_wait_seconds) == ("lazy", 0.0025)


@pytest.mark.parametrize(
    "flags",
    [
        "--memory-budget 0", "--memory-budget -1G", "--memory-budget 5X", "--memory-budget 5i", "--memory-budget G",
        "--max-wait-ms -1", "--max-wait-ms nan", "--max-wait-ms 60000", "--load later",
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2 and the flag's name."""
    with pytest.raises(SystemExit) as ended:
        from_arguments(flags.split())
    assert ended.value.code == 2
    assert flags.partition(" ")[0] in capsys.readouterr().err


def test_one_model_of_a_file_may_be_lazy(tmp_path: Path) -> None:
    """And nothing but eager or lazy."""
    (tmp_path / "reviews").mkdir()
    file = tmp_path / "mine.toml"
    text = '[[model]]\nid = "a"\ntask = "fill-mask"\nsource = "reviews"\noptions = {{ load = "{}" }}\n'
    file.write_text(text.format("lazy"))
    assert read(file)[0].options == {"load": "lazy"}
    file.write_text(text.format("never"))
    with pytest.raises(UsageError, match="load must be eager or lazy"):
        read(file)


def test_weights_are_measured_once_each_wherever_they_hang() -> None:
    """Modules of a task, or of what it holds; those that two tasks share count once."""
    one, other = WeightyTask(size=2), WeightyTask(size=3)
    shared = WeightyTask(size=1)
    shared.module = one.module
    assert together([one, other, shared]) == 5 * MEGABYTE
    assert together([]) == 0
    assert [each() for each in watched(one)] == [one.module]


def test_files_tell_what_is_to_be_expected(tmp_path: Path) -> None:
    """Of all of a pipeline's folders; nothing is known of what is not in a folder."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "weights.safetensors").write_bytes(b"x" * 70)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 7)
    (tmp_path / "config.json").write_bytes(b"{}")
    spec = ModelSpec("m", "fill-mask", str(tmp_path), "local", "hub")
    assert expected(spec) == 77
    assert expected(ModelSpec("m", "fill-mask", "google-bert/bert-base-uncased", "main", "hub")) == 0
