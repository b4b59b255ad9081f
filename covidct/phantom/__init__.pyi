from .ct import TEST_OBJECT as TEST_OBJECT
from .ct import PhantomCT as PhantomCT
from .ct import simulate_ct as simulate_ct
from .cxr import PhantomCXR as PhantomCXR
from .cxr import simulate_cxr as simulate_cxr

__all__ = ("TEST_OBJECT", "PhantomCT", "PhantomCXR", "simulate_ct", "simulate_cxr")
