"""EfficientNet-Lite0 as it was published for ImageNet, which several programs start from."""

from stages.config.schema import Model

# Who builds it sets the size.
PUBLISHED = Model(library="timm", name="tf_efficientnet_lite0", weights="imagenet",
                  activation="keep", image_size=0, mean=[0.5] * 3, std=[0.5] * 3)
