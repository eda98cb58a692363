"""Using trained weights: a file of them as a model, what it finds in images, and files of that."""

from frostline.predicting.images import count_as_stored, find_images
from frostline.predicting.model import LoadedModel, load, predict_images
from frostline.predicting.writing import Predicted, write_predictions

__all__ = [
    "LoadedModel",
    "Predicted",
    "count_as_stored",
    "find_images",
    "load",
    "predict_images",
    "write_predictions",
]
