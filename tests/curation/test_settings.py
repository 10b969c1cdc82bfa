"""A profile is checked before anything runs, and a mistake names its place and what is allowed."""

from pathlib import Path

import pytest

from curation.errors import UserError
from curation.settings import load_profile

MINIMAL = "lake: lake\nsources: [{name: a, role: seed, kind: jsonl, path: a.jsonl}]\n"


@pytest.fixture
def profile_file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(MINIMAL)
    return file


def test_paths_are_relative_to_the_profile_and_the_name_is_the_file(profile_file):
    profile = load_profile(profile_file)
    assert profile.name == "mine"
    assert profile.lake == str(profile_file.parent / "lake")
    assert profile.sources[0].path == str(profile_file.parent / "a.jsonl")


def test_overrides_are_applied_and_checked(profile_file):
    assert load_profile(profile_file, ["selection.budget=500"]).selection.budget == 500
    with pytest.raises(UserError, match=r"selection\.budget.*greater than 0.*-1"):
        load_profile(profile_file, ["selection.budget=-1"])
    with pytest.raises(UserError, match=r"section\.field=value"):
        load_profile(profile_file, ["selection.budget"])
    with pytest.raises(UserError, match="does not name a setting"):
        load_profile(profile_file, ["lake.x=1"])


def test_an_unknown_key_names_its_path_and_the_allowed_ones(profile_file):
    with pytest.raises(UserError, match=r"mine\.yaml: unknown key selection\.budgt; allowed: budget, "):
        load_profile(profile_file, ["selection.budgt=1"])
    with pytest.raises(UserError, match=r"unknown key sources\.0\.pth; allowed: name, role, kind, path"):
        load_profile(profile_file, ["sources=[{name: a, role: seed, kind: jsonl, pth: x}]"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a mapping"),
        ("[1]", "not a mapping"),
        ("a: [", "not a YAML file"),
        ("lake: x\n", "sources: Field required"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(tmp_path, content, message):
    file = tmp_path / "p.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        load_profile(file)


def test_a_missing_file_and_a_missing_variable_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot read"):
        load_profile(tmp_path / "nowhere.yaml")
    file = tmp_path / "p.yaml"
    file.write_text(MINIMAL.replace("a.jsonl", "'${MY_DATA}/a.jsonl'"))
    monkeypatch.delenv("MY_DATA", raising=False)
    with pytest.raises(UserError, match="MY_DATA is not set"):
        load_profile(file)
    monkeypatch.setenv("MY_DATA", "/somewhere")
    assert load_profile(file).sources[0].path == "/somewhere/a.jsonl"


def test_two_sources_cannot_share_a_name(profile_file):
    one = "{name: a, role: seed, kind: jsonl, path: x}"
    with pytest.raises(UserError, match="two sources have the name a"):
        load_profile(profile_file, [f"sources=[{one}, {one}]"])


def test_a_source_says_what_it_lacks(profile_file):
    with pytest.raises(UserError, match="kind web needs urls"):
        load_profile(profile_file, ["sources=[{name: a, role: document, kind: web}]"])
    with pytest.raises(UserError, match="kind jsonl needs a path"):
        load_profile(profile_file, ["sources=[{name: a, role: seed, kind: jsonl}]"])


def test_a_limit_of_trust_needs_something_trusted(profile_file):
    with pytest.raises(UserError, match="min_trust needs trusted_sources"):
        load_profile(profile_file, ["scores.quality.min_trust=0.5"])
    limited = ["scores.quality.trusted_sources=[people]", "scores.quality.min_trust=0.5"]
    assert load_profile(profile_file, limited).scores.quality.min_trust == 0.5


def test_every_setting_is_described():
    from curation.settings import Profile

    def fields(model, path):
        for name, field in model.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                yield from fields(inner, f"{path}.{name}")
            else:
                yield f"{path}.{name}", field.description

    undescribed = [path for path, description in fields(Profile, "profile") if not description]
    assert undescribed == []
