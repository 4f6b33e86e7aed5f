"""Whether images of a validation are trained on too, as far as the places tell where they are read."""

import numpy as np

from finevit.datasets.readers.files import FileSource


def seen(train: object, val: object) -> str:
    """``SEEN IN TRAINING: ...`` where the data set ``val`` shows what ``train`` shows too, as far as that can be told.

    Sources of one type on one path are compared by their records. A path inside the other may hold the same images.
    """
    one, other = (getattr(dataset, "source", None) for dataset in (train, val))
    if not (isinstance(one, FileSource) and isinstance(other, FileSource)):
        return ""
    roots = [source.data_root.resolve() for source in (one, other)]
    if roots[0] == roots[1] and type(one) is type(other):
        same = len(np.intersect1d(one.rows, other.rows))
        return f"SEEN IN TRAINING: {same:,} of {len(other):,} images" if same else ""
    if roots[0] == roots[1] or roots[0] in roots[1].parents or roots[1] in roots[0].parents:
        return f"PERHAPS SEEN IN TRAINING: {other.data_root} and {one.data_root}, which is trained on, lie in one another"
    return ""
