"""The estates that Freshet itself hands out, in the demo and in the guide, are right."""

from __future__ import annotations

import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from infra.estate_file import load_estate
from infra.stack.layout import PROJECT
from infra.stack.ports import Ports
from policy.names import CustomerName


def test_the_demo_estate_and_its_digests_are_right(tmp_path: Path) -> None:
    template = Environment(
        loader=FileSystemLoader(PROJECT / "demo"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML, and every value is a number or a path
    ).get_template("estate.yaml.j2")
    text = template.render(
        ports=Ports.of(15430, {}),
        identities={"live": "7312345678901234567", "trial": "7312345678901234568"},
        releases=str(PROJECT / "releases"),
        state="/srv/freshet",
        supervisor_config="/srv/freshet/supervisor/supervisord.conf",
    )
    path = tmp_path / "estate.yaml"
    path.write_text(text)
    estate = load_estate(path)
    assert set(estate.customers) == {"lakeside", "harbor"}
    assert estate.customers[CustomerName("harbor")].group == "coastal"
    for release in estate.releases:
        lock = PROJECT / "releases" / "kinto" / f"{release.version}.txt"
        assert release.sha256 == hashlib.sha256(lock.read_bytes()).hexdigest()


def test_the_example_in_the_guide_is_right(tmp_path: Path) -> None:
    guide = (PROJECT / "docs" / "guide" / "estate.md").read_text(encoding="utf-8")
    example = guide.split("```yaml\n", 1)[1].split("```", 1)[0]
    path = tmp_path / "estate.yaml"
    path.write_text(example)
    (tmp_path / "kinto-26.5.0.txt").write_bytes((PROJECT / "releases" / "kinto" / "26.5.0.txt").read_bytes())
    assert load_estate(path).name == "north-hosting"
