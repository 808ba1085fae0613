from typing import Any

# baash/kernels is the typed face of this module, and its only caller.
def __getattr__(name: str) -> Any: ...
