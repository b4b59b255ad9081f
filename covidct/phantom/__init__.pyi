from .ct import TEST_OBJECT as TEST_OBJECT
from .ct import PhantomCT as PhantomCT
from .ct import simulate_ct as simulate_ct
from .cxr import PhantomCXR as PhantomCXR
from .cxr import simulate_cxr as simulate_cxr
from .variety import VariedCT as VariedCT
from .variety import simulate_varied_ct as simulate_varied_ct

__all__ = (
    "TEST_OBJECT",
    "PhantomCT",
    "PhantomCXR",
    "VariedCT",
    "simulate_ct",
    "simulate_cxr",
    "simulate_varied_ct",
)
