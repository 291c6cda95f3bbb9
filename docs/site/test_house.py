"""Claims about the picture of the house: it shows the packages and rooms that there are, each on its floor."""

from house import FLOORS, ROOT, picture, rooms, size_of
from test_site import SITE


def test_all_packages_and_rooms_are_in_the_picture() -> None:
    shown = picture()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert {*sum(FLOORS, ())} == packages | {"notebooks"}
    for package in sum(FLOORS, ()):
        assert f">{package}</text>" in shown
        assert f">{size_of(package)}</text>" in shown
    inside = {path.parent.name for path in (ROOT / "ranks").glob("*/__init__.py")}
    assert inside < {name for name, _ in rooms()}
    for place, (name, _) in enumerate(rooms(), 1):
        assert f">{place} {name}</text>" in shown


def test_a_floor_stands_on_those_that_it_imports() -> None:
    heights = {name: picture().index(f">{name}</text>") for name in sum(FLOORS, ())}
    order = ["notebooks", "experiments", "training", "collectives", "loggp", "ranks"]
    assert sorted(order, key=heights.__getitem__) == order


def test_the_page_has_the_table_of_rooms() -> None:
    text = (SITE / "docs" / "site" / "house.html").read_text(encoding="utf-8")
    assert "{{rooms}}" not in text
    assert all(what.partition(":")[0] in text for _, what in rooms())
