"""Every crash point is played or has a reason not to be; nothing is left out silently."""

from scenarios import SCENARIOS, WITHOUT, unplayed

from accesspoint.failpoints import POINTS, Fault


def test_every_point_has_a_scenario_or_a_reason():
    assert unplayed() == set()
    assert not set(SCENARIOS) & set(WITHOUT)
    assert set(SCENARIOS) | set(WITHOUT) == set(POINTS)


def test_what_is_without_a_scenario_is_counted():
    assert len(SCENARIOS) == 56
    assert len(WITHOUT) == 4
    assert all(WITHOUT.values())


def test_a_circumstance_is_acted_and_a_place_is_armed():
    acted = {name for name, scenario in SCENARIOS.items() if scenario.act is not None}
    assert {name for name in SCENARIOS if not POINTS[name].line} <= acted


def test_only_what_one_store_does_is_played_on_one_store():
    alone = {name: s.stores for name, s in SCENARIOS.items() if len(s.stores) == 1}
    assert alone == {"M2": ("sqlite",), "M3": ("sqlite",)}


def test_a_full_walk_is_every_fault_on_every_store():
    from walk import runs_of

    runs = [r for store in ("sqlite", "postgresql") for r in runs_of(POINTS, Fault, store)]
    assert len(runs) == len(SCENARIOS) * 5 * 2 - 10
