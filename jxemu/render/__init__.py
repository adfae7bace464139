"""From events to files and datasets. The package can be called: ``jxemu.render(tone, notes)`` is `offline.render`."""

import sys
from types import ModuleType

from jxemu.render import offline


class _Package(ModuleType):
    __call__ = staticmethod(offline.render)


sys.modules[__name__].__class__ = _Package
