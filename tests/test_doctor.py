"""`invdiff doctor` says what is there, passes here, and fails where an operator or a prior is broken."""

import pytest
import torch

from invdiff import doctor
from invdiff.cli import main


def test_a_sound_installation_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"torch {torch.__version__}" in out
    assert "brain-mri" in out
    assert out.count("self-test") == len(doctor.TESTS)
    assert "all well" in out


@pytest.mark.parametrize("fault", ["solve", "check_operator"])
def test_a_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(doctor, fault, broken)
    assert main(["doctor"]) == 1
    assert "FAILED, RuntimeError: planted" in capsys.readouterr().out


def test_a_poor_reconstruction_is_a_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "psnr", lambda truth, image: 10.0)
    assert main(["doctor"]) == 1
    assert "where the zero-filled image has" in capsys.readouterr().out


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(doctor.EXTRAS, "no-such-package", "nothing: pip install it")
    main(["doctor"])
    assert "not installed (nothing: pip install it)" in capsys.readouterr().out
