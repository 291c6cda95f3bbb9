"""Claims about the pictures of scripts: who is in them, on which axis, and that they fit a page."""

from itertools import product

import pytest

import ranks
from experiments import bitonic_sort, float_order, ring_allreduce, stragglers, who_wins
from experiments.lab.worlds import Simulated
from experiments.pictures.curves import curves
from experiments.pictures.palette import styles


def drawn(module, monkeypatch):
    """Return a list that gets what a script gives to `curves`, and then the figures."""
    calls = []

    def curves(*given):
        calls.append((given, real(*given)))
        return calls[-1][1]

    real = module.curves
    monkeypatch.setattr(module, "curves", curves)
    return calls


def test_slow_links_are_drawn_for_all_rows_with_the_factor_that_was_asked_for(tmp_path, monkeypatch):
    calls = drawn(stragglers, monkeypatch)
    setting = stragglers.Setting(4, 1024, ranks.presets["alpha-beta"], 100, 12)
    stragglers.draw(setting, tmp_path / "slow.png")
    ((_, _, lines, points, *_), figure) = calls[0]
    assert figure.legends[0].get_title().get_text() == "lines expected, marks measured"
    assert set(lines) == set(points) == set(stragglers.ALGORITHMS)
    assert {12, 64} <= {factor for factor, _ in points["ring"]}
    axes = figure.axes[0]
    assert [text.get_text().strip() for text in axes.texts] == ["--factor 12"]
    assert [12, 12] in [list(line.get_xdata()) for line in axes.lines]


def test_all_sorts_are_drawn_and_a_line_where_a_formula_holds(tmp_path, monkeypatch):
    calls = drawn(bitonic_sort, monkeypatch)
    world, n = Simulated(4, ranks.presets["ethernet"]), 2**16
    times = {p: bitonic_sort.compare(Simulated(p, world.network), n, []) for p in (2, 4)}
    bitonic_sort.draw_all(world, tmp_path / "sort.png", n, times)
    (_, _, lines, points, *_), figure = calls[0]
    (axes,) = figure.axes
    title = axes.get_legend().get_title().get_text()
    assert title == "lines expected, marks measured\ndots join marks where no time is expected"
    dotted = [line for line in axes.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    assert len(dotted) == len(points) - len(lines)
    assert list(points) == list(bitonic_sort.SORTS)
    assert lines == {name: points[name] for name in ("bitonic_block_sort", "odd_even_block_sort")}


def test_marks_beyond_the_end_of_a_line_are_joined_by_dots():
    points = {"a": [(2, 1.0), (4, 2.0), (8, 3.0)]}
    for line, styles_ in ((points["a"], ["-", "None"]), (points["a"][:2], ["-", ":"])):
        axes = curves("", "", {"a": line}, points, str, str).axes[0]
        assert [each.get_linestyle() for each in axes.lines if len(each.get_xdata())] == styles_


def test_a_ring_s_messages_are_those_of_its_first_ranks_and_say_so(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(ranks.Trace, "picture", lambda trace, path, **options: seen.append((trace.size, options)))
    monkeypatch.setattr(ring_allreduce, "curves", lambda *_: ranks.look.figure(1, 1))
    for p in (3, 16, 20):
        ring_allreduce.draw(Simulated(p, ranks.presets["infiniband"]), tmp_path / "ring.png", 256)
    assert [(size, options["ranks"]) for size, options in seen] == [(3, range(3)), (16, range(4)), (16, range(4))]


def test_bounds_are_drawn_where_the_largest_error_is():
    sizes = [2, 4]
    found = {(name, p): float_order.seen(name, p) for name, p in product(float_order.ALGORITHMS, sizes)}
    figure = float_order.picture(sizes, found)
    largest, rms = ({line.get_label(): list(line.get_ydata()) for line in axes.lines} for axes in figure.axes)
    assert largest["bound of a chain, p - 1"] == [1, 3]
    assert not any("bound" in label for label in rms)
    for name in float_order.ALGORITHMS:
        assert largest[name] == [found[name, p].largest for p in sizes]
        assert [found[name, p].rms for p in sizes] in rms.values()


@pytest.mark.parametrize(("n_networks", "size"), [(1, (1, 1)), (2, (2, 1)), (7, (2, 4))])
def test_maps_fit_a_page_and_have_the_algorithms_colours(n_networks, size):
    networks = list(ranks.presets.values())[:n_networks]
    cells = {(p, n): who_wins.Cell("ring" if n < 2**20 else "bcube", {}) for p in (2, 4) for n in who_wins.BYTES}
    figure = who_wins.picture(["allreduce"], networks, [2, 4], {("allreduce", each.name): cells for each in networks})
    assert len(figure.axes) == n_networks
    assert {axes.get_subplotspec().get_gridspec().get_geometry() for axes in figure.axes} == {size[::-1]}
    assert figure.get_figwidth() < 10
    for axes in figure.axes:
        colours = [patch.get_facecolor() for patch in axes.get_legend().get_patches()]
        assert [ranks.look.COLOURS.index(styles([name])[name][0]) for name in ("ring", "bcube")] == [0, 5]
        assert len(set(colours)) == 2
        assert {text.get_fontsize() for text in axes.texts} == {12}
