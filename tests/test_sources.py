import re
from pathlib import Path

import pytest

from jxemu.soundboard.parts import PARTS

ROOT = Path(__file__).parents[1]
NOTES = ROOT / "firmware_notes"
GRADES = {"A", "B", "C", "D", "PLACEHOLDER"}


def _sources():
    return set(re.findall(r"`([^`\s]+)`", (NOTES / "sources.md").read_text()))


def _questions():
    return set(re.findall(r"^## ([a-z0-9-]+)\s*$", (NOTES / "open_questions.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("constant", PARTS.values(), ids=lambda c: c.name)
def test_a_constant_has_a_grade_and_a_source_that_is_listed(constant):
    assert constant.grade in GRADES
    assert constant.source in _sources()
    assert constant.about


@pytest.mark.parametrize("constant", [c for c in PARTS.values() if c.grade == "PLACEHOLDER"], ids=lambda c: c.name)
def test_a_placeholder_names_an_open_question(constant):
    assert constant.question in _questions()


def test_what_is_known_is_not_called_a_question():
    assert not [c.name for c in PARTS.values() if c.question and c.grade in ("A", "B") and c.name != "FEEDBACK_TOP"]


@pytest.mark.parametrize("path", sorted((ROOT / "jxemu").rglob("*.py")), ids=lambda p: p.name)
def test_docstrings_name_only_listed_sources_and_questions(path):
    text = path.read_text()
    for line in re.findall(r"Source: ([^;\n]*)", text):
        for word in re.findall(r"(?<![\w-])([A-Z0-9]{2,}(?:-[A-Z]+)?|[SC]\d{1,2})(?![\w])", line.split("Limits")[0]):
            if word not in {"DCO", "BBD", "LFO", "ROM", "OTA", "VCA", "VCF"}:
                assert word in _sources(), f"{path.name}: source {word}"
    for line in re.findall(r"[Qq]uestions?: ([a-z0-9, \n-]+)", text):
        for word in re.split(r"[,\s]+", line):
            if "-" in word:
                assert word in _questions(), f"{path.name}: question {word}"
