"""The bundled teachers, by the name under which a config asks for them."""

from finevit.contracts import Teacher

from .hugging_face import HuggingFaceTeacher
from .packaged import PackagedDinov2Small
from .random_features import RandomFeatureTeacher
from .timm_vit import TimmTeacher

TEACHERS: dict[str, type[Teacher]] = {
    each.__name__: each for each in (HuggingFaceTeacher, PackagedDinov2Small, RandomFeatureTeacher, TimmTeacher)
}
