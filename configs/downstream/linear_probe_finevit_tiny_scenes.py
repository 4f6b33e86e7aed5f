"""Linear probe on embedded scenes: the twin of linear_probe_finevit_l_imagenet.py for minutes on two cores."""

_base_ = "_base_/tiny_classification.py"

model = dict(backbone=dict(frozen=True), neck=[dict(type="finevit.AveragePool"), dict(type="ClsBatchNormNeck", input_features=256)])
