"""A 1 x 1 convolution on one map: what linear segmentation puts in the place of a decoder. The leaf says channels and classes."""

_linear_head = dict(
    _delete_=True,
    type="FCNHead",
    in_index=0,
    num_convs=0,
    concat_input=False,
    dropout_ratio=0.0,
    align_corners=False,
    loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
)
