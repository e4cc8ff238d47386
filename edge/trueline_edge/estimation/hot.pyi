from typing import Any

from numpy import float64, uint8
from numpy.typing import NDArray

Array = NDArray[float64]

def hampel(*arguments: Any) -> None: ...
