"""Configuration files, overrides and their error messages."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from configs.base import Config
from configs.errors import ConfigError
from configs.loading import dump_yaml, load_config, shipped, shipped_names
from configs.market import DEFAULT_VENUES
from configs.train import TrainConfig


class Generator(Config):
    kind: Literal["generator"] = "generator"
    volatility: PositiveFloat = 0.2


class Replay(Config):
    kind: Literal["replay"] = "replay"
    path: Path
    start: date | None = None


class Venue(Config):
    name: str = "NYSE"
    fee: float = 0.0


class Market(Config):
    reference: Annotated[Generator | Replay, Field(discriminator="kind")] = Generator(
        volatility=0.5
    )
    venues: tuple[Venue, ...] = (Venue(name="A"), Venue(name="B"))
    latency: dict[str, PositiveFloat] = Field(default_factory=dict)


class Env(Config):
    lot_size: PositiveInt = 1
    horizon: int = Field(75, le=1000)
    market: Market = Market()

    @field_validator("horizon")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 5:
            raise ValueError("must be divisible by 5")
        return value


class Root(Config):
    env: Env = Env()
    lr: PositiveFloat = 3e-4
    title: str = "run"
    seed: int | None = None
    widths: tuple[int, ...] = (64, 64)
    bound: int | float = 1
    shuffle: bool = True


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def failure(*sources: object, overrides: tuple[str, ...] = (), model: type[Config] = Root) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(model, *sources, overrides=overrides)  # type: ignore[arg-type]
    return str(caught.value)


def test_sources_merge_in_order_and_overrides_win(tmp_path: Path) -> None:
    first = write(tmp_path, "lr: 2e-3\nenv:\n  lot_size: 5\n  horizon: 50\nwidths: [1, 2, 3]\n")
    second = write(tmp_path, "env:\n  lot_size: 7\nwidths: [4]\n", "b.yaml")
    config = load_config(Root, first, str(second), {"seed": 3}, overrides=["env.horizon=25"])
    assert config.lr == 2e-3
    assert (config.env.lot_size, config.env.horizon) == (7, 25)
    assert config.widths == (4,)
    assert config.seed == 3


def test_scalars_are_what_they_look_like(tmp_path: Path) -> None:
    path = write(tmp_path, "lr: 1_0.5e-1\ntitle: 2024-01-02\nseed: 010\nshuffle: no\nbound: .5\n")
    config = load_config(Root, path)
    assert config.lr == 1.05
    assert config.title == "2024-01-02"
    assert config.seed == 10
    assert config.shuffle is False
    assert config.bound == 0.5


def test_a_nested_key_keeps_the_parents_default_object() -> None:
    venue_only = load_config(Root, {"env": {"market": {"latency": {"A": 1}}}})
    assert venue_only.env.market.reference == Generator(volatility=0.5)
    same_kind = load_config(Root, {"env": {"market": {"reference": {"kind": "generator"}}}})
    assert same_kind.env.market.reference == Generator(volatility=0.5)
    tagless = load_config(Root, overrides=["env.market.reference.volatility=.1"])
    assert tagless.env.market.reference == Generator(volatility=0.1)


def test_a_changed_tag_drops_the_former_variants_keys(tmp_path: Path) -> None:
    first = write(tmp_path, "env: {market: {reference: {kind: generator, volatility: .3}}}")
    second = write(tmp_path, "env: {market: {reference: {kind: replay, path: x.csv}}}", "b.yaml")
    expected = Replay(path=Path("x.csv"))
    assert load_config(Root, first, second).env.market.reference == expected
    set_to_same = ["env.market.reference.kind=replay", "env.market.reference.path=x.csv"]
    assert load_config(Root, first, overrides=set_to_same).env.market.reference == expected


def test_overrides_are_typed_by_the_schema() -> None:
    config = load_config(
        Root,
        {"env": {"market": {"venues": [{"name": "A"}, {"name": "B"}]}}},
        overrides=[
            "title=2024",
            "env.market.venues.1.fee=1e-4",
            "env.market.latency.NYSE=5",
            "widths=[8, 9]",
            "seed=null",
            "lr=1e-3",
            "widths.0=7",
        ],
    )
    assert config.title == "2024"
    assert [venue.fee for venue in config.env.market.venues] == [0.0, 1e-4]
    assert config.env.market.latency == {"NYSE": 5.0}
    assert config.widths == (7, 9)
    assert config.seed is None


def test_one_item_of_a_default_list_can_be_set() -> None:
    set_one = ["env.market.venues.0.fee=0.01", "env.market.venues.1.name=C", "widths.1=7"]
    config = load_config(Root, overrides=set_one)
    assert config.env.market.venues == (Venue(name="A", fee=0.01), Venue(name="C"))
    assert config.widths == (64, 7)
    assert Root().env.market.venues[0].fee == 0.0
    assert "has 2 items" in failure(overrides=("env.market.venues.2.fee=1",))
    shipped_market = load_config(TrainConfig, overrides=["env.market.venues.0.taker_fee=0.01"])
    venues = shipped_market.env.market.venues
    assert venues[0] == DEFAULT_VENUES[0].model_copy(update={"taker_fee": 0.01})
    assert venues[1:] == DEFAULT_VENUES[1:]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("env.lot_sise=3", "did you mean 'lot_size'?"),
        ("enf.lot_size=3", "did you mean 'env'?"),
        ("env.zzz=3", "known: horizon, lot_size, market"),
        ("lr.x=3", "'lr' holds a single value"),
        ("lr", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("env..lot_size=3", "expected KEY=VALUE"),
        ("lr=[", "is not YAML"),
        ("lr=-1", "lr=-1 in --set lr=-1: expected > 0"),
        ("lr=true", "expected a value of another type than true or false"),
        ("lr=.inf", "expected a finite number"),
        ("seed=1.5", "expected an integer"),
        ("widths.0=x", "expected a lower index, or set the whole list"),
    ],
)
def test_wrong_overrides(override: str, told: str) -> None:
    assert told in failure({"widths": []}, overrides=(override,))


def test_an_unknown_key_names_the_nearest_and_its_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nenv:\n  lot_sizee: 3\n")
    message = failure(path)
    assert message == f"unknown key env.lot_sizee in {path}:3: did you mean 'lot_size'?"


def test_one_line_per_problem_with_the_place_of_each(tmp_path: Path) -> None:
    first = write(tmp_path, "lr: 0\nenv:\n  lot_size: 0\n")
    second = write(tmp_path, "env:\n  horizon: 7\nbound: x\n", "b.yaml")
    lines = failure(first, second).splitlines()
    assert lines[0] == "4 problems in the configuration:"
    assert sorted(line.strip() for line in lines[1:]) == sorted(
        [
            f"lr=0 in {first}:1: expected > 0",
            f"env.lot_size=0 in {first}:3: expected > 0",
            f"env.horizon=7 in {second}:2: must be divisible by 5",
            f"bound=x in {second}:3: expected an integer or a number",
        ]
    )


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("{kind: replay}", "env.market.reference.path is missing in {0}:1"),
        ("{kind: replay, path: 3}", "env.market.reference.path=3 in {0}:1: expected a path"),
        ("{kind: replay, path: x, stat: 3}", "did you mean 'start'?"),
        ("{kind: replay, path: x, volatility: 3}", "unknown key env.market.reference.volatility"),
        (
            "{kind: bogus}",
            "env.market.reference.kind=bogus in {0}:1: expected one of 'generator', 'replay'",
        ),
        ("5", "env.market.reference=5 in {0}:1: expected"),
    ],
)
def test_problems_inside_a_discriminated_union(tmp_path: Path, reference: str, told: str) -> None:
    path = write(tmp_path, f"env: {{market: {{reference: {reference}}}}}\n")
    assert told.format(path) in failure(path)


def test_problems_inside_lists_and_dicts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "env:\n  market:\n    venues:\n      - name: A\n      - nam: B\n    latency: {A: -1}\n",
    )
    message = failure(path)
    assert f"unknown key env.market.venues.1.nam in {path}:5: did you mean 'name'?" in message
    assert f"env.market.latency.A=-1 in {path}:6: expected > 0" in message


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (b"# only a comment\n", "holds no settings"),
        (b"- 1\n- 2\n", "expected a YAML mapping"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8 text"),
        (b"lr: 1\x00\n", "is not text"),
        (b"lr: 1\nlr: 2\n", "a.yaml:2 gives the key 'lr' a second time (first on line 1)"),
        (b"lr: [1,\nseed: 2\n", "a.yaml:3:1 is not YAML"),
        (b"env:\n\t lot_size: 1\n", "a.yaml:2:1 is not YAML"),
        (b"lr: 1\n---\nlr: 2\n", "is not YAML"),
        (b"a: &x [1]\nb: *x\n", "by an alias"),
        (b"lr: !!python/object:os.system x\n", "without tags"),
        (b"? [1, 2]\n: 3\n", "a key that is not a name"),
        (b"lr: " + b"[" * 100_000, "nested too deeply"),
        (b"lr: " + b"[" * 80 + b"]" * 80, "nested deeper"),
        (b"lr: " + b"9" * 5000, "expected a number"),
        (b"lr: !!int x\n", "expected a number"),
        (b"#" * 300_000, "larger than"),
        (b"lr: @x\n", "is not YAML"),
    ],
)
def test_unreadable_files(tmp_path: Path, raw: bytes, told: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(raw)
    message = failure(path)
    assert told in message
    assert "a.yaml" in message


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "does not exist" in failure(tmp_path / "none.yaml")
    assert "is a folder" in failure(tmp_path)
    assert "cannot be read" in failure("a\x00b")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_load_or_raise_a_config_error(tmp_path_factory: object, raw: bytes) -> None:
    path = Path(str(tmp_path_factory.getbasetemp())) / "fuzz.yaml"  # type: ignore[attr-defined]
    path.write_bytes(raw)
    try:
        assert isinstance(load_config(Root, path), Root)
    except ConfigError as error:
        assert str(error)


@given(
    title=st.text(max_size=20),
    lr=st.floats(min_value=1e-12, max_value=1e12),
    seed=st.none() | st.integers(-(2**40), 2**40),
    start=st.none() | st.dates(),
    name=st.text(min_size=1, max_size=8),
)
def test_a_dump_reads_back_equal(
    tmp_path_factory: object, title: str, lr: float, seed: int | None, start: date, name: str
) -> None:
    market = Market(reference=Replay(path=Path("x.csv"), start=start), latency={name: lr})
    config = Root(env=Env(market=market), title=title, lr=lr, seed=seed)
    path = Path(str(tmp_path_factory.getbasetemp())) / "dump.yaml"  # type: ignore[attr-defined]
    path.write_text(dump_yaml(config), encoding="utf-8")
    assert load_config(Root, path) == config


def test_shipped_files_are_listed_when_a_name_is_wrong() -> None:
    assert "sample-bars" in shipped_names("presets")
    assert shipped("presets", "sample-bars").is_file()
    with pytest.raises(ConfigError, match=r"unknown preset 'sample_bars': did you mean"):
        shipped("presets", "sample_bars")
    with pytest.raises(ConfigError, match=r"known: execution, strategic, tactical"):
        shipped("layers", "../presets/sample-bars")
