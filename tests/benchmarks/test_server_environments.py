from pathlib import Path

from benchmarks.driver import ROOT
from benchmarks.peers import Peer, PeerError
from benchmarks.server_environments import REQUIREMENTS, SAME, collected, package_of, same_versions
from benchmarks.server_models import BUILDERS, WORDS
from benchmarks.server_peers.work import WORK, Settings
from benchmarks.server_programs import MAX_BATCH, PARAMETERS


def test_a_peer_that_does_not_install_is_named_with_its_reason() -> None:
    """The others go on, and what is missing is told in one line."""

    def install(name: str) -> Peer:
        if name == "mosec":
            raise PeerError("cannot be installed: no wheel\nmore lines")
        return Peer(name, "1.0", Path("python"))

    found = collected(["LitServe", "mosec", "Ray Serve"], install)
    assert list(found.peers) == ["LitServe", "Ray Serve"]
    assert found.missing == {"mosec": "cannot be installed: no wheel"}
    assert found.versions == {"litserve": "1.0", "ray": "1.0"}


def test_pins_are_of_the_libraries_alone() -> None:
    """Peers get our versions of what computes, however it is spelt, and their own of everything else."""
    text = "# a comment\ntorch==2.6.0\nfastapi==0.1\nHuggingface-Hub==1.0\ntransformers==5.0\n"
    assert same_versions(text) == ["torch==2.6.0", "Huggingface-Hub==1.0", "transformers==5.0"]


def test_every_library_that_computes_is_pinned() -> None:
    """The repository's constraints name each of them, so that no peer runs another torch than ours."""
    pinned = same_versions((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert len(pinned) == len(SAME)


def test_packages_are_named_without_extras() -> None:
    """A version is told beside the name by which a reader finds the package."""
    assert [package_of(name) for name in REQUIREMENTS] == ["fastapi", "litserve", "mosec", "ray", "transformers"]


def test_each_task_has_all_its_parts() -> None:
    """A task has a model, the peers' code, a batch size, parameters and words for a reader."""
    assert set(BUILDERS) == set(WORK) == set(MAX_BATCH) == set(PARAMETERS) == set(WORDS)


def test_peers_batch_as_largely_as_ours() -> None:
    """The batch size that peers get is that of our own tasks."""
    from perjoule_server.tasks import decoding, diffusion, encoder

    assert MAX_BATCH == {
        "text-classification": encoder.MAX_BATCH,
        "text-generation": decoding.MAX_BATCH,
        "text-to-image": diffusion.MAX_BATCH,
    }


def test_settings_come_from_the_environment() -> None:
    """What a peer is told arrives, and tells the type of its replies."""
    told = {"PEER_TASK": "text-to-image", "PEER_FOLDER": "models/x", "PEER_PORT": "1234", "PEER_MAX_BATCH": "8",
            "PEER_WAIT_SECONDS": "0.002"}  # fmt: skip
    settings = Settings.from_environment(told)
    assert settings == Settings("text-to-image", Path("models/x"), 1234, 8, 0.002)
    assert settings.media_type == "image/png"
