"""`import nasda` finds every name that a student meets, and loads a module only when one of its names is asked for."""

import importlib
import subprocess
import sys

import pytest

import nasda


@pytest.mark.parametrize("name", nasda.__all__)
def test_each_name_is_the_one_of_its_module(name: str) -> None:
    assert getattr(nasda, name) is getattr(importlib.import_module(f"nasda.{nasda._MODULE_OF[name]}"), name)
    assert name in dir(nasda)


def test_the_names_of_the_paper_s_files_are_there() -> None:
    met = """
        Genotype PRIMITIVES derive Supernet DerivedNetwork ResNet PlainCNN Cell SearchCell MixedOp register_operation
        softmax_loss triplet_loss retrieval_loss Bilevel Search run_search run_training evaluate rank Metrics
        load_task make_toy profile Profile changed RunFolder NasdaError open_course check explore
    """
    assert set(met.split()) <= set(nasda.__all__)
    assert len(nasda.__all__) == sum(map(len, nasda._NAMES.values())), "each name once"


def test_importing_nasda_loads_no_other_module_of_it_and_no_torch() -> None:
    code = (
        "import sys, nasda; dir(nasda); print(sorted(m for m in sys.modules if m[:6] in ('nasda.', 'torch', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_told_the_nearest_ones() -> None:
    with pytest.raises(AttributeError, match=r"nasda has no 'Supernets': did you mean Supernet\?"):
        _ = nasda.Supernets
    with pytest.raises(AttributeError, match=r"nasda has no 'resnet': did you mean ResNet\?"):
        _ = nasda.resnet
    with pytest.raises(AttributeError, match=r"nasda has no 'xyzzy': dir\(nasda\) lists all names"):
        _ = nasda.xyzzy


def test_modules_can_still_be_taken_from_the_package() -> None:
    from nasda import losses

    assert losses.triplet_loss is nasda.triplet_loss
