"""Models in CTranslate2's form; the embedded translator, no Ray."""

from nlift.models.ctranslate2 import converted


def test_a_conversion_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = converted("embedded", "translator", None, "int8")
    before = first.stat().st_mtime_ns
    second = converted("embedded", "translator", None, "int8")
    assert first == second and second.stat().st_mtime_ns == before
    assert first.parent == tmp_path / "nlift" / "ctranslate2"
    assert not list(first.parent.glob(".*.tmp"))
