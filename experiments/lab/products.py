"""Matrix products counted where they are made: `@` and np.matmul of some modules call a counter for a while."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from parallel import layers
from parallel.attention import blockwise, together
from training import model

MODULES = (layers, together, blockwise, model)
_NAME = "_counted_product"


@contextmanager
def counted_products(modules: tuple[ModuleType, ...] = MODULES) -> Iterator[Counter[str]]:
    """Count the FLOPs of all products that functions of these modules make inside, by the name of the function.

    with counted_products() as flops:
        linear(np.ones((1, 2, 3)), np.ones((3, 4)))
    flops  # Counter({'linear': 48}): 2 * 2 * 3 * 4

    The functions run other code while it lasts: the same, but for calls in the place of products.
    """
    flops: Counter[str] = Counter()

    def product(where: str, a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
        made = np.matmul(a, b, *args, **kwargs)
        flops[where] += 2 * np.asarray(made).size * np.shape(a)[-1]
        return made

    before: list[tuple[FunctionType, Any]] = []
    for module in modules:
        again: dict[str, Any] = {"__name__": module.__name__}
        tree = _Calls().visit(ast.parse(inspect.getsource(module)))
        exec(compile(ast.fix_missing_locations(tree), str(module.__file__), "exec", dont_inherit=True), again)
        for function, other in _functions(vars(module), again, module.__name__):
            before.append((function, function.__code__))
            function.__code__ = other.__code__
        setattr(module, _NAME, product)
    try:
        yield flops
    finally:
        for function, code in before:
            function.__code__ = code
        for module in modules:
            delattr(module, _NAME)


class _Calls(ast.NodeTransformer):
    """Makes a call of each product, with the name of the function around it."""

    where = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        outer, self.where = self.where, node.name
        self.generic_visit(node)
        self.where = outer
        return node

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        self.generic_visit(node)
        return self._call([node.left, node.right], []) if isinstance(node.op, ast.MatMult) else node

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        is_product = ast.unparse(node.func) == "np.matmul"
        return self._call(node.args, node.keywords) if is_product else node

    def _call(self, args: list[ast.expr], keywords: list[ast.keyword]) -> ast.Call:
        return ast.Call(ast.Name(_NAME, ast.Load()), [ast.Constant(self.where), *args], keywords)


def _functions(mine: dict[str, Any], others: dict[str, Any], module: str) -> Iterator[tuple[FunctionType, Any]]:
    """Yield the functions and methods of a module, each with the one that is to be run instead."""
    for name, thing in list(mine.items()):
        if isinstance(thing, FunctionType) and thing.__module__ == module:
            yield thing, others[name]
        elif isinstance(thing, type) and thing.__module__ == module:
            yield from _functions(dict(vars(thing)), dict(vars(others[name])), module)
