"""Fixed cases cover all pairs of values."""

from __future__ import annotations

from itertools import combinations, product

from covering import covering


def test_fixed_cases_have_every_pair_of_values_that_fits_in_few_cases() -> None:
    options = {"a": list(range(9)), "b": "xyz", "c": [(), (1,)], "d": [None, 0.5, 1.5, 2.5]}

    def fits(chosen: dict[str, object]) -> bool:
        return not ("a" in chosen and chosen["a"] == 3 and chosen.get("b") == "y")

    made = covering(options, fits)
    assert made == covering(options, fits)
    assert all(map(fits, made))
    for a, b in combinations(options, 2):
        met = {(chosen[a], chosen[b]) for chosen in made}
        assert met == set(product(options[a], options[b])) - ({(3, "y")} if (a, b) == ("a", "b") else set())
    assert len(made) <= 40  # 36 are needed, all of them would be 208
