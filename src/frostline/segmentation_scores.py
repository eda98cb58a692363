"""The scores of segmentation."""

from frostline.scores import Declaration, Score

__all__ = ["SEGMENTATION_SCORES"]

SEGMENTATION_SCORES = Declaration(
    task="segmentation",
    least_gain=0.05,
    examples="masks",
    scores=(
        Score(
            key="miou",
            label="mean IoU",
            axis="mean IoU",
            meaning="Intersection over union of each class, from pixels counted over all images at "
            "the masks' own size, and the mean over classes; a class that is neither there nor "
            "found is left out.",
            ranks=True,
            chart=True,
            headline=True,
            by_trial=True,
            by_part=True,
        ),
        Score(
            key="dice",
            label="Dice",
            axis="Dice",
            meaning="Twice the intersection over the sum of both areas (the F1 of pixels), from "
            "the same counts, and the mean over classes.",
            chart=True,
            headline=True,
            by_trial=True,
            by_part=True,
        ),
        Score(
            key="image_miou",
            label="mean IoU an image",
            axis="mean IoU, image by image",
            meaning="The mean IoU of each image by itself, and the mean of these.",
            by_trial=True,
        ),
        Score(
            key="image_spread",
            label="spread over images",
            axis="standard deviation of the images' mean IoU",
            meaning="The standard deviation of the images' own mean IoU.",
            by_trial=True,
        ),
        Score(
            key="pixel_accuracy",
            label="pixels right",
            axis="share of pixels that are right",
            by_trial=True,
        ),
    ),
)
