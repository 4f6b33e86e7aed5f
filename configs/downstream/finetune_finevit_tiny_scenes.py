"""Fine-tuning on embedded scenes: the twin of finetune_finevit_l_imagenet.py for minutes on two cores."""

_base_ = "_base_/tiny_classification.py"

optim_wrapper = dict(constructor="finevit.LayerDecay", paramwise_cfg=dict(layer_decay_rate=0.75, norm_decay_mult=0.0))
