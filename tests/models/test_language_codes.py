"""Languages by any of their names."""

import pytest

from nlift.models.language_codes import NAMES, meant

NLLB = ["ace_Arab", "ace_Latn", "arb_Arab", "eng_Latn", "nno_Latn", "nob_Latn", "pol_Latn", "zho_Hans", "zho_Hant"]
MBART = ["ar_AR", "en_XX", "pl_PL", "pt_XX", "zh_CN"]
M2M = ["ar", "ceb", "en", "he", "no", "pl", "zh"]
ROMANCE = ["es", "es_AR", "fr", "fr_BE", "pt", "pt_BR", "ro"]
MUL = ["ara", "arq", "cmn", "cmn_Hans", "nno", "nob", "pol", "srp_Cyrl", "zho_Hant"]


@pytest.mark.parametrize(
    ("codes", "wanted", "expected"),
    [
        (NLLB, "pl", ["pol_Latn"]),
        (NLLB, "en", ["eng_Latn"]),
        (NLLB, "ar", ["arb_Arab"]),
        (NLLB, "no", ["nob_Latn"]),
        (NLLB, "nn", ["nno_Latn"]),
        (NLLB, "zh", ["zho_Hans", "zho_Hant"]),
        (NLLB, "zh_Hant", ["zho_Hant"]),
        (NLLB, "cmn_Hans", ["zho_Hans"]),
        (NLLB, "ace_Latn", ["ace_Latn"]),
        (NLLB, "pl_Cyrl", []),
        (NLLB, "p", []),
        (MBART, "en", ["en_XX"]),
        (MBART, "en_GB", ["en_XX"]),
        (MBART, "pt_BR", ["pt_XX"]),
        (MBART, "por", ["pt_XX"]),
        (MBART, "zh_TW", []),
        (MBART, "zho", ["zh_CN"]),
        (M2M, "pol", ["pl"]),
        (M2M, "pl_PL", ["pl"]),
        (M2M, "nb", ["no"]),
        (M2M, "iw", ["he"]),
        (M2M, "ceb", ["ceb"]),
        (M2M, "xx", []),
        (ROMANCE, "fra", ["fr"]),
        (ROMANCE, "fr_BE", ["fr_BE"]),
        (ROMANCE, "fr_CA", ["fr"]),
        (ROMANCE, "pt-BR", ["pt_BR"]),
        (ROMANCE, "spa_AR", ["es_AR"]),
        (MUL, "ar", ["ara"]),
        (MUL, "nb", ["nob"]),
        (MUL, "no", ["nob"]),
        (MUL, "zh", ["cmn"]),
        (MUL, "zh_Hant", ["zho_Hant"]),
        (MUL, "sr", ["srp_Cyrl"]),
        (MUL, "sr_Latn", []),
    ],
)
def test_a_language_among_a_models_codes(codes, wanted, expected):
    assert meant(codes, wanted) == expected


def test_every_short_name_is_its_own_language():
    assert len(NAMES) == 190 and all(len(short) == 2 for short in NAMES)
    assert all(len(name) == 3 for names in NAMES.values() for name in names)
    firsts = [names[0] for short, names in NAMES.items() if short not in ("in", "iw", "ji", "jw", "mo")]
    assert len(firsts) == len(set(firsts))
