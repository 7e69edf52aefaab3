"""The config maps of ``grafana/kustomization.yml``: what Grafana's sidecars read is what is published otherwise."""

from pathlib import Path
from typing import Any

import yaml

from perjoule_grafana.dashboards import dashboard_files
from perjoule_grafana.publish import SOURCE_NAME, SOURCE_UID

GRAFANA = Path(__file__).resolve().parents[2] / "grafana"
LARGEST_ANNOTATION = 262_144
"""Bytes of all annotations of an object in Kubernetes; ``kubectl apply`` keeps the whole object in one."""


def kustomization() -> dict[str, Any]:
    """Return the file."""
    found = yaml.safe_load((GRAFANA / "kustomization.yml").read_text())
    assert isinstance(found, dict)
    return found


def test_every_dashboard_is_a_config_map() -> None:
    """No dashboard is forgotten, none is named that is not there, and each map has one."""
    named = [file for each in kustomization()["configMapGenerator"] for file in each["files"]]
    assert sorted(f"grafana/{file}" for file in named) == sorted(dashboard_files())
    assert all((GRAFANA / file).is_file() for file in named)


def test_every_map_is_small_enough_to_apply() -> None:
    """Kubernetes refuses annotations above a quarter of a MiB; JSON in JSON grows by its quotes and line ends."""
    for text in dashboard_files().values():
        quoted = len(text.encode()) + text.count('"') + text.count("\n")
        assert quoted < 0.8 * LARGEST_ANNOTATION


def test_sidecars_find_them() -> None:
    """The labels are the defaults of Grafana's chart."""
    assert kustomization()["generatorOptions"]["labels"] == {"grafana_dashboard": "1"}
    (source,) = (yaml.safe_load((GRAFANA / path).read_text()) for path in kustomization()["resources"])
    assert source["metadata"]["labels"] == {"grafana_datasource": "1"}


def test_the_data_source_is_the_published_one() -> None:
    """Provisioned and published data sources have one uid and name, and no password."""
    text = (GRAFANA / "provisioning/kubernetes/datasource.yml").read_text()
    (source,) = yaml.safe_load(yaml.safe_load(text)["data"]["perjoule.yml"])["datasources"]
    assert (source["uid"], source["name"], source["type"]) == (SOURCE_UID, SOURCE_NAME, "prometheus")
    assert not {"password", "secureJsonData", "basicAuthPassword"} & set(source)
