"""docker-compose.yml, its GPU override and the images: ports, mounts, commands and health checks are the contract's."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from perjoule_grafana.dashboards import dashboard_files

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
GPU = ROOT / "docker-compose.gpu.yml"
OURS = {"exporter": "gpu-energy-exporter", "server": "inference-server", "loadgen": "loadgen"}
PORTS = {"exporter": 10101, "server": 8080, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
HEALTH = {
    "exporter": "/healthz",
    "server": "/readyz",
    "prometheus": "/-/ready",
    "alertmanager": "/-/ready",
    "grafana": "/api/health",
}
FOREIGN = ("prometheus", "alertmanager", "grafana")
FLAGS = {
    "exporter": {"--meter", "--web.listen-address", "--carbon.zone", "--carbon.pue"},
    "server": {"--models", "--host", "--port"},
    "loadgen": {"--task", "--target", "--energy", "--prometheus", "--duration", "--warmup"},
}
"""The flags that the containers are started with."""


def services(path: Path = COMPOSE) -> dict[str, dict[str, Any]]:
    """Return the services of a compose file."""
    found = yaml.safe_load(path.read_text())["services"]
    assert isinstance(found, dict)
    return found


def words(service: str) -> list[str]:
    """Return what the container runs, as words; the exporter's shell line is taken apart."""
    described = services()[service]
    line = [*described.get("entrypoint", []), *described["command"]]
    if line[:2] != ["/bin/sh", "-c"]:
        return line
    text = re.sub(r"\$\$\{\w+:\+(.*?)\}", r"\1", line[2])
    return shlex.split(text)[1:]


def dockerfile(service: str) -> str:
    """Return the Dockerfile of one of our services."""
    return (ROOT / service / "Dockerfile").read_text()


def run(docker_compose: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run docker-compose on the repository's files and return what it printed."""
    done = subprocess.run(
        [docker_compose, *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **(environment or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not re.search("warn", done.stderr, re.IGNORECASE), done.stderr
    return done.stdout


def test_docker_compose_accepts_the_file(docker_compose: Path) -> None:
    """Nothing has to be set in the environment for it; the load generator is there on request only."""
    started = run(docker_compose, "config", "--services").split()
    assert set(started) == {*PORTS, "loadgen"}
    assert services()["loadgen"]["profiles"] == ["loadgen"]
    assert all("profiles" not in services()[name] for name in PORTS)


def test_docker_compose_accepts_the_gpu_override(docker_compose: Path) -> None:
    """With the override both the exporter and the server reserve NVIDIA devices, and nothing else changes."""
    plain = yaml.safe_load(run(docker_compose, "config"))["services"]
    merged = yaml.safe_load(run(docker_compose, "-f", COMPOSE.name, "-f", GPU.name, "config"))["services"]
    for name in ("exporter", "server"):
        (device,) = merged[name].pop("deploy")["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia"
        assert "gpu" in device["capabilities"]
        merged[name]["environment"].pop("NVIDIA_DRIVER_CAPABILITIES")
    merged["server"].pop("environment")
    for described in (*plain.values(), *merged.values()):  # docker-compose merges mounts in no order
        described.get("volumes", []).sort()
    assert merged == plain


def test_settings_come_from_the_environment(docker_compose: Path) -> None:
    """Zone, PUE and model profile reach the containers."""
    environment = {"CARBON_ZONE": "FRA", "CARBON_PUE": "1.2", "MODELS": "study"}
    resolved = yaml.safe_load(run(docker_compose, "config", environment=environment))["services"]
    assert resolved["exporter"]["environment"] == {"CARBON_ZONE": "FRA", "CARBON_PUE": "1.2"}
    assert resolved["server"]["command"][:2] == ["--models", "study"]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("", []), ("FRA", ["--carbon.zone", "FRA"]), ("F; echo $(id)", ["--carbon.zone", "F; echo $(id)"])],
)
def test_a_zone_that_is_not_set_is_not_passed(tmp_path: Path, zone: str, expected: list[str]) -> None:
    """There is no default zone: the shell line leaves the flag out, and passes any other text as one word."""
    stub = tmp_path / "gpu-energy-exporter"
    stub.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\n')
    stub.chmod(0o755)
    line = services()["exporter"]["command"][0].replace("$$", "$")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CARBON_ZONE": zone, "CARBON_PUE": "1.0"}
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == [
        "--meter", "auto", "--web.listen-address", "0.0.0.0:10101", "--carbon.pue", "1.0", *expected,
    ]  # fmt: skip


@pytest.mark.parametrize("name", PORTS)
def test_ports_are_published_on_this_machine_alone(name: str) -> None:
    """Each service is reached under its own port on 127.0.0.1."""
    assert services()[name]["ports"] == [f"127.0.0.1:{PORTS[name]}:{PORTS[name]}"]


@pytest.mark.parametrize("name", HEALTH)
def test_health_checks(name: str) -> None:
    """Each service is asked on its own port and route, without a shell."""
    command, *arguments = services()[name]["healthcheck"]["test"]
    assert command == "CMD"
    assert f"http://127.0.0.1:{PORTS[name]}{HEALTH[name]}" in arguments[-1]


@pytest.mark.parametrize("name", ["exporter", "server"])
def test_the_image_has_the_same_health_check(name: str) -> None:
    """An image that is started without compose is checked alike."""
    found = re.search(r"HEALTHCHECK [^\[]*(\[.*\])", dockerfile(name))
    assert found
    assert json.loads(found[1]) == services()[name]["healthcheck"]["test"][1:]


@pytest.mark.parametrize("name", OURS)
def test_programs_are_started_with_flags_of_the_contract(name: str) -> None:
    """Each flag is one of the contract's."""
    assert {word for word in words(name) if word.startswith("--")} == FLAGS[name]


@pytest.mark.parametrize(("name", "program"), OURS.items())
def test_programs_know_the_flags_that_they_are_started_with(name: str, program: str) -> None:
    """Each flag of the containers' commands and of the images' defaults stands in the program's help."""
    done = subprocess.run(
        [Path(sys.executable).with_name(program), "--help"], capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"--[a-z][a-z.-]*", done.stdout))
    default = re.search(r"^CMD (\[.*\])$", dockerfile(name), re.MULTILINE)
    assert default
    asked = {word for word in [*words(name), *json.loads(default[1])] if word.startswith("--")}
    assert asked <= known | {"--help"}


@pytest.mark.parametrize(("name", "program"), OURS.items())
def test_images_run_the_program(name: str, program: str) -> None:
    """The entry point is the console script, the user is not root, the Python is pinned and so are the packages."""
    text = dockerfile(name)
    assert f'ENTRYPOINT ["{program}"]' in text
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)
    assert re.search(r"^FROM python:3\.11\.\d+-slim-\w+$", text, re.MULTILINE)
    assert text.count("-c constraints.txt") == text.count("pip install")
    assert services()[name]["build"]["dockerfile"] == f"{name}/Dockerfile"
    assert services()[name]["build"]["context"] == "."


def test_containers_listen_where_others_reach_them() -> None:
    """Inside a container 127.0.0.1 would be the container's own."""
    assert "0.0.0.0:10101" in words("exporter")
    assert " ".join(words("server")).endswith("--host 0.0.0.0 --port 8080")


def test_loadgen_finds_its_neighbours() -> None:
    """Target, energy and Prometheus are the services, on their ports."""
    line = words("loadgen")
    asked = {flag: line[line.index(flag) + 1] for flag in ("--target", "--energy", "--prometheus")}
    assert asked == {
        "--target": "http://server:8080",
        "--energy": "http://exporter:10101/metrics",
        "--prometheus": "http://prometheus:9090",
    }


@pytest.mark.parametrize("name", services())
def test_every_mount_exists_and_is_read_only(name: str) -> None:
    """Files of the repository are mounted read-only from paths that exist; what is written lies in named volumes."""
    volumes = yaml.safe_load(COMPOSE.read_text())["volumes"]
    for mount in services()[name].get("volumes", []):
        source, _, *mode = mount.split(":")
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert mode == ["ro"]
        else:
            assert source in volumes


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_images_are_pinned_and_not_root(name: str) -> None:
    """A version in full, and a user other than root."""
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", services()[name]["image"])
    assert not services()[name]["user"].startswith(("0", "root"))


def test_prometheus_is_version_three() -> None:
    """The rules are written for 2.42 and 3.x; new installations get 3.x."""
    assert services()["prometheus"]["image"].startswith("prom/prometheus:v3.")


@pytest.mark.parametrize("name", services())
def test_containers_can_do_no_more_than_they_must(name: str) -> None:
    """No capabilities, no way to gain privileges, and nothing to write to but volumes and what is gone at the end."""
    assert services()[name]["read_only"] is True
    assert services()[name]["cap_drop"] == ["ALL"]
    assert services()[name]["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in services()[name]


def test_there_is_no_password() -> None:
    """No administrator, no login, viewers alone; no password stands in a file."""
    environment = services()["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    for path in (COMPOSE, GPU):
        assert not re.search(r"(?i)(password|secret|token)\w*[=:]\s*\S", path.read_text().replace("by a secret.", ""))


def mounted(name: str, container_path: str) -> Path:
    """Return what of the repository the container sees under ``container_path``."""
    for mount in services()[name]["volumes"]:
        source, target = str(mount).split(":")[:2]
        if container_path == target or container_path.startswith(target + "/"):
            return ROOT / source / container_path[len(target) :].lstrip("/")
    raise AssertionError(f"{container_path} is not mounted into {name}")


def test_grafana_finds_its_dashboards() -> None:
    """Provider and home dashboard point at the committed files, and the data source at Prometheus."""
    provisioning = mounted("grafana", "/etc/grafana/provisioning/dashboards")
    (provider,) = yaml.safe_load((provisioning / "perjoule.yml").read_text())["providers"]
    assert list(mounted("grafana", provider["options"]["path"]).glob("*.json"))
    assert provider["allowUiUpdates"] is False
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted("grafana", home).is_file()
    sources = mounted("grafana", "/etc/grafana/provisioning/datasources")
    (source,) = yaml.safe_load((sources / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)


def test_every_dashboard_is_in_grafana_and_the_first_is_its_home() -> None:
    """What is mounted are all the generated dashboards; one opens Grafana on *Energy & CO2 per inference*."""
    folder = mounted("grafana", "/etc/perjoule/dashboards")
    assert {f"grafana/dashboards/{path.name}" for path in folder.glob("*.json")} == set(dashboard_files())
    home = mounted("grafana", services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads(home.read_text())["title"] == "Energy & CO2 per inference"


def test_grafana_s_rate_interval_follows_the_scrape() -> None:
    """The data source knows Prometheus's scrape interval."""
    (source,) = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    scrape = yaml.safe_load((ROOT / "prometheus/compose.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape


def test_prometheus_finds_its_configuration_and_rules() -> None:
    """The configuration in the command is mounted, and so are the rules that it names."""
    (flag,) = [word for word in services()["prometheus"]["command"] if word.startswith("--config.file=")]
    config = yaml.safe_load(mounted("prometheus", flag.partition("=")[2]).read_text())
    (pattern,) = config["rule_files"]
    folder = mounted("prometheus", pattern.rpartition("/")[0])
    assert folder == ROOT / "prometheus" / "rules"
    assert {path.name for path in folder.glob(Path(pattern).name)} == {"energy.yml", "alerts.yml", "budgets.yml"}


def test_alertmanager_has_its_configuration_and_is_told_the_alerts() -> None:
    """The file in the command is the repository's, and Prometheus sends to the service's port."""
    (flag,) = [word for word in services()["alertmanager"]["command"] if word.startswith("--config.file=")]
    assert mounted("alertmanager", flag.partition("=")[2]) == ROOT / "alertmanager.yml"
    config = yaml.safe_load((ROOT / "prometheus" / "compose.yml").read_text())
    (told,) = config["alerting"]["alertmanagers"]
    assert told["static_configs"] == [{"targets": [f"alertmanager:{PORTS['alertmanager']}"]}]


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("name", "program"), [("prometheus", "prometheus_binary"), ("alertmanager", "alertmanager_binary")]
)
def test_foreign_programs_know_their_flags(name: str, program: str, request: pytest.FixtureRequest) -> None:
    """Each flag of the command stands in the help of Debian's version, too."""
    done = subprocess.run(
        [request.getfixturevalue(program), "--help"], capture_output=True, text=True, check=False, timeout=30
    )
    known = set(re.findall(r"--[a-z][a-z.-]*", done.stdout + done.stderr))
    assert {word.partition("=")[0] for word in services()[name]["command"]} <= known


def test_the_server_reaches_the_exporters_span_socket() -> None:
    """Both have the default socket's folder from one volume, made for the one user that both run as."""
    assert all("spans:/run/perjoule" in services()[name]["volumes"] for name in ("exporter", "server"))
    assert "spans" in yaml.safe_load(COMPOSE.read_text())["volumes"]
    for name in ("exporter", "server"):
        assert "install -d -o perjoule -m 0750 /run/perjoule" in dockerfile(name)
        assert "USER 10001" in dockerfile(name)
