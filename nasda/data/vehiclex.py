"""VehicleX (Yao et al. 2020): the source of the vehicle task, 1,362 rendered cars; training images only.

Two sets go by this name: AI City's, 192,150 images fitted to CityFlow, and the 75,516 images of the paper, whose
attributes were fitted to VeRi-776 (so that "source only" is not quite free of the target there).
"""

from pathlib import Path

from nasda.data.domain import Domain
from nasda.data.reading import Layout, Lists, read_train

_IMAGE_FOLDERS = ("image_train", "sys_image_train", "VeRi_ReID_Simulation")  # AI City 2020, 2021, the authors' own

LAYOUT = Layout(
    dataset="VehicleX",
    task="vehicle",
    folder_names=(
        "AIC20_ReID_Simulation",
        "AIC21_Track2_ReID_Simulation",
        "VehicleX",
        "VehicleX_VeRi",
        "VeRiX",
        "AIC20_track2",
        "AIC20_track2_reid_simulation",
        "AIC21",
    ),
    markers=_IMAGE_FOLDERS,
)
LISTS = (Lists("train", "name_train.txt", ("train_label.xml", "VeRi_label.xml")),)


def read_names(data_root: Path) -> Domain:
    """VehicleX below `data_root`; query and gallery are empty, since the data set has none.

    The file names give the labels, with four digits an identity or, from the generator, five.
    Raises `NasdaError` when the images are missing, or a file's name is not understood.
    """
    root = LAYOUT.find(data_root)
    train = read_train(next(root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()))
    return Domain(LAYOUT.dataset, root, train, query=[], gallery=[])
