"""Python imports this first in each process that tests start: there, real MPI is calibrated in one round.

Otherwise each process that asks for "auto" would measure for up to three seconds. `conftest.py` puts this folder on
PYTHONPATH. `test_calibration.py` gives a calibration all its time.
"""

import sys
from importlib.machinery import PathFinder


class Hurry:
    """Finds the module that calibrates, and leaves it no time for a second round."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "ranks.both.calibrate":
            return None
        sys.meta_path.remove(cls)
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def hurried(module):
            execute(module)
            assert module._PATIENCE_S > 0
            module._PATIENCE_S = 0

        spec.loader.exec_module = hurried
        return spec


sys.meta_path.insert(0, Hurry)
