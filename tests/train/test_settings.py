import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from curate.catalog import InputError
from train.optimise import TrainConfig
from train.settings import assignments, checked, merged, read_yaml, settings_of

values = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text("abc", max_size=3))
nested = st.dictionaries(st.sampled_from("abcd"), values | st.dictionaries(st.sampled_from("xy"), values))


def test_yaml_and_back():
    asked = {"catalog": "eu.parquet", "sensors": ["s2", "s1"], "train": {"lr": 1e-4, "betas": [0.9, 0.99]}}
    settings = settings_of(asked)
    assert settings.sensors == ("s2", "s1")
    assert settings_of(yaml.safe_load(settings.to_yaml())) == settings


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"catalogue": "x"}, "unknown key 'catalogue'. Did you mean 'catalog'"),
        ({"workers": "many"}, "workers is 'many'"),
        ({"train": 3}, "train is 3"),
    ],
)
def test_what_is_wrong_is_said(asked, said):
    with pytest.raises(InputError) as caught:
        settings_of(asked)
    assert said in str(caught.value)


def test_sections_are_as_strict():
    base = {"steps": 1, "batch_size": 2, "lr": "1e-4"}
    assert checked(TrainConfig, base, "train").lr == 1e-4  # YAML takes 1e-4 for text
    with pytest.raises(InputError, match=r"unknown key 'train\.acumulate'. Did you mean 'train\.accumulate'"):
        checked(TrainConfig, {**base, "acumulate": 2}, "train")
    for value, shown in (("x", "'x'"), (True, "True")):
        with pytest.raises(InputError, match=rf"train\.seed is {shown}"):
            checked(TrainConfig, {**base, "seed": value}, "train")


def test_assignments_are_yaml():
    said = assignments(["train.ema=0.999", "train.betas=[0.9, 0.95]", "probe=false"])
    assert said == {"train": {"ema": 0.999, "betas": [0.9, 0.95]}, "probe": False}
    with pytest.raises(InputError, match="no assignment"):
        assignments(["train.ema"])
    with pytest.raises(InputError, match="not YAML"):
        assignments(["train.betas=[0.9,"])


@given(nested, nested)
def test_what_lies_over_wins_and_nothing_else_is_lost(under, over):
    both = merged(under, over)
    assert merged(both, over) == both
    assert set(both) == set(under) | set(over)
    for name, value in over.items():
        if not isinstance(value, dict):
            assert both[name] == value
        else:
            assert value.items() <= both[name].items()


@pytest.mark.parametrize("content", ["- a list", "a: [", "train: {lr: 1, seed: 0, lr: 2}", None])
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content):
    path = tmp_path / "run.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"run\.yaml"):
        read_yaml(path)
