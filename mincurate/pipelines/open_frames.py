"""Videos in FiftyOne: their frames, as a dataset of images, are what is scored."""

from mincurate.images import collection
from mincurate.images.collection import FIFTYONE, Place
from mincurate.progress import Reporter


def of_videos(place: Place, reporter: Reporter) -> Place:
    """The place of the frames, where ``place`` is a dataset or view of videos or of frames.

    Raises:
        UserError: the database does not answer, or there are no frames.
    """
    name = collection.place_name(place)
    if not name.startswith(FIFTYONE):
        return place
    from mincurate.dataset import database, frames

    database.check_database()
    value = name.removeprefix(FIFTYONE)
    if not frames.of_videos(value):
        return place
    return FIFTYONE + frames.dataset_of(value, reporter)
