from .checkpoints import load_checkpoint as load_checkpoint
from .checkpoints import load_foreign as load_foreign
from .digest import sha256_file as sha256_file
from .fetch import fetch_weights as fetch_weights
from .fetch import weights_path as weights_path
from .imagenet import imagenet_weights as imagenet_weights
from .registry import BackboneWeights as BackboneWeights
from .registry import PublishedWeights as PublishedWeights
from .registry import backbone_weights as backbone_weights
from .registry import published_weights as published_weights
from .state import batch_counters as batch_counters
from .state import load_state as load_state
from .tensors import RECORD_KEY as RECORD_KEY
from .tensors import load_weights as load_weights
from .tensors import save_weights as save_weights

__all__ = (
    "RECORD_KEY",
    "BackboneWeights",
    "PublishedWeights",
    "backbone_weights",
    "batch_counters",
    "fetch_weights",
    "imagenet_weights",
    "load_checkpoint",
    "load_foreign",
    "load_state",
    "load_weights",
    "published_weights",
    "save_weights",
    "sha256_file",
    "weights_path",
)
