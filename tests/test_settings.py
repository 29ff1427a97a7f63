"""Which setting wins."""

import pytest

from search.errors import UsageError
from search.settings import resolve


def test_flag_over_environment_over_file_over_default(tmp_path):
    environment = {"ESCSEARCH_HOME": "/env/home", "RAY_ADDRESS": "auto"}
    (tmp_path / "escsearch.yaml").write_text(
        "home: /file/home\nray_address: elsewhere\ntracking_uri: http://h:5000\n"
    )
    settings = resolve({"home": "/flag/home"}, environment, tmp_path)
    assert str(settings.home) == "/flag/home"
    assert settings.ray_address == "auto"
    assert settings.tracking_uri == settings.registry_uri == "http://h:5000"
    assert settings.origins == {
        "home": "flag --home",
        "ray_address": "environment RAY_ADDRESS",
        "tracking_uri": "file escsearch.yaml",
        "registry_uri": "default",
    }


def test_the_default_store_lies_in_the_home(tmp_path):
    settings = resolve({"home": str(tmp_path)}, {}, tmp_path)
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/mlflow.sqlite"
    assert settings.study("a") == tmp_path / "a"
    assert settings.ray_address == "local"


@pytest.mark.parametrize(
    ("text", "says"), [("hme: x\n", "hme"), ("- a\n", "may hold only"), ("a: [\n", "not valid YAML")]
)
def test_a_settings_file_with_a_mistake_is_named(tmp_path, text, says):
    (tmp_path / "escsearch.yaml").write_text(text)
    with pytest.raises(UsageError, match=says):
        resolve({}, {}, tmp_path)
