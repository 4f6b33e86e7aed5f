"""FineViT within OpenMMLab's detectors, segmenters and classifiers."""
